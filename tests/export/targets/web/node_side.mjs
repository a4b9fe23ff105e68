// Runs the page's modules in Node: node node_side.mjs STATIC TASK ARGUMENTS.
import fs from 'node:fs';
import path from 'node:path';
import url from 'node:url';

const [folder, task, ...names] = process.argv.slice(2);
const load = name => import(url.pathToFileURL(path.join(folder, name)));
const read = (name, kind = Uint8Array) => { const b = fs.readFileSync(name); return new kind(b.buffer.slice(b.byteOffset, b.byteOffset + b.length)); };
const write = (name, array) => fs.writeFileSync(name, new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
const {open, KERNELS} = await load('tflite.js');

// Each model of a list, with its inputs in the file's own dtype -> its outputs on every kernel set, in KERNELS' order.
function models(list) {
  for (const {model, inputs, outputs} of JSON.parse(fs.readFileSync(list, 'utf8'))) {
    const bytes = read(model), found = [];
    for (const kernels of KERNELS) {
      const {input, output, run} = open(bytes, kernels), width = input.shape.at(-1);
      const x = read(inputs, input.type === 'int8' ? Int8Array : Float32Array);
      for (let at = 0; at < x.length; at += width) {
        const y = run(x.subarray(at, at + width));
        found.push(Buffer.from(y.slice().buffer));
      }
    }
    fs.writeFileSync(outputs, Buffer.concat(found));
  }
}

// Drawings as strokes of points -> gray pages (128, 128), model inputs (400,) and the reasons to doubt.
async function drawings(strokes, pages, rows, reasons) {
  const {drawLine, findDigit, image, normalize, toGray, toInput} = await load('pictures.js');
  const {implausibilities} = await load('plausibility.js');
  const all = JSON.parse(fs.readFileSync(strokes, 'utf8')), gray = new Uint8Array(all.length * 128 * 128), found = new Float32Array(all.length * 400), why = [];
  all.forEach((drawing, n) => {
    const page = image(128, 128);
    for (const stroke of drawing.strokes) stroke.forEach((point, i) => drawLine(page, stroke[Math.max(0, i - 1)], point, drawing.radius));
    const picture = toGray(page), digit = findDigit(picture, 128, 128), mnist = normalize(digit);
    gray.set(picture, n * 128 * 128);
    found.set(toInput(mnist), n * 400);
    why.push(implausibilities(digit, mnist));
  });
  write(pages, gray);
  write(rows, found);
  fs.writeFileSync(reasons, JSON.stringify(why));
}

// Hexadecimal contents -> their SHA-256, computed without crypto.subtle.
async function checksums(plan) {
  globalThis.document = {getElementById: () => ({textContent: '{}'})};
  const {sha256} = await load('files.js');
  for (const content of JSON.parse(fs.readFileSync(plan, 'utf8'))) console.log(await sha256(new Uint8Array(Buffer.from(content, 'hex')), null));
}

// Outputs of four classes whose quantum is 0.25 -> the metrics of a row.
async function metrics(outputs, golden, labels) {
  const {compare} = await load('parity.js');
  console.log(JSON.stringify(compare(read(outputs, Float32Array), read(golden, Float32Array), read(labels, Float32Array), 4, 0.25)));
}

await {models, drawings, checksums, metrics}[task](...names);
