// The files of the site, each checked against the SHA-256 that the page was written with. A single page has them inside.
export const SITE = JSON.parse(document.getElementById('site').textContent);
const packed = JSON.parse(document.getElementById('packed')?.textContent ?? 'null');
/** The verified bytes of a file; throws if it is missing or is not the one that the site was made with. */
export async function load(name) {
  const response = packed ? unpack(packed[name]) : await fetch(name).catch(cause => ({statusText: cause.message}));
  const bytes = response.ok ? new Uint8Array(await response.arrayBuffer().catch(() => [])) : null;
  if (!bytes) throw new Error(`${name} cannot be loaded (${response.status ?? ''} ${response.statusText}); is the server there, and the folder complete?`);
  if (await sha256(bytes) !== SITE.files[name]) throw new Error(`${name} is damaged: ${bytes.length} bytes, not those that the page was made with; load it again`);
  return bytes;
}
const unpack = text => new Response(new Blob([Uint8Array.from(atob(text), c => c.charCodeAt(0))]).stream().pipeThrough(new DecompressionStream('gzip')));
const hex = bytes => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
/** SHA-256 as hexadecimal digits. Without https, browsers have no crypto.subtle: then FIPS 180-4, section 6.2, here. */
export async function sha256(bytes, subtle = globalThis.crypto?.subtle) {
  if (subtle) return hex(new Uint8Array(await subtle.digest('SHA-256', bytes)));
  const primes = [], bits = x => (x - Math.floor(x)) * 2 ** 32 | 0, rotate = (x, n) => x >>> n | x << 32 - n, w = new Int32Array(64);
  for (let n = 2; primes.length < 64; n++) if (primes.every(p => n % p)) primes.push(n);
  const k = primes.map(p => bits(Math.cbrt(p))), hash = Int32Array.from(primes.slice(0, 8), p => bits(Math.sqrt(p)));
  const padded = new Uint8Array((bytes.length + 72 >> 6) << 6), view = new DataView(padded.buffer);
  padded.set(bytes);
  padded[bytes.length] = 128;
  view.setBigUint64(padded.length - 8, BigInt(bytes.length) * 8n);
  for (let at = 0; at < padded.length; at += 64) {
    for (let i = 0; i < 64; i++) {
      const a = w[i - 15], b = w[i - 2], s0 = rotate(a, 7) ^ rotate(a, 18) ^ a >>> 3, s1 = rotate(b, 17) ^ rotate(b, 19) ^ b >>> 10;
      w[i] = i < 16 ? view.getInt32(at + 4 * i) : w[i - 16] + s0 + w[i - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = hash;
    for (let i = 0; i < 64; i++) {
      const t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (e & f ^ ~e & g) + k[i] + w[i];
      const t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + (a & b ^ a & c ^ b & c);
      [h, g, f, e, d, c, b, a] = [g, f, e, d + t1 | 0, c, b, a, t1 + t2 | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => { hash[i] += value; });
  }
  for (let i = 0; i < 8; i++) view.setInt32(4 * i, hash[i]);
  return hex(padded.subarray(0, 32));
}
