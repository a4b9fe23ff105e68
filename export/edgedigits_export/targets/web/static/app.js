// The page: strokes, the answer while one draws, and the proof of parity.
import {load, SITE} from './files.js';
import {kernelSet, openLiteRt} from './litert.js';
import {argmax, median, prove} from './parity.js';
import {drawLine, findDigit, image, normalize, PEN, toGray, toInput} from './pictures.js';
import {implausibilities} from './plausibility.js';
import {open, real} from './tflite.js';
const $ = id => document.getElementById(id), say = (element, text, name = '') => Object.assign(element, {textContent: text, className: name});
const percent = p => `${(100 * p).toFixed(1)} %`, failed = cause => Object.assign(say($('state'), cause.message, 'bad'), {hidden: false});
const MIN_PROBABILITY = 0.8, WORKING_SIZE = 128, MARGIN = PEN + 3, canvas = $('page'), ZOOM = canvas.width / WORKING_SIZE;
const sketch = canvas.getContext?.('2d'), seen = $('seen').getContext?.('2d'), page = image(WORKING_SIZE, WORKING_SIZE), strokes = [];
// Every artifact in every runtime; `missing` says why one cannot run here.
const absent = !SITE.litert ? 'not in this site; edgedigits web --runtime litert adds it' : kernelSet ? '' : 'this browser has no WebAssembly with SIMD';
const plan = SITE.artifacts.flatMap(artifact => [
  ...artifact.js ? [{artifact, runtime: 'js', kernels: 'exact', version: SITE.version, missing: ''}] : [],
  {artifact, runtime: 'litert.js', kernels: kernelSet ?? 'simd', version: SITE.litert, missing: absent},
]), usable = plan.filter(row => !row.missing);
const openSession = ({artifact, runtime}) => load(`model/${artifact.file}`).then(async bytes => ({bytes, ...await (runtime === 'js' ? open : openLiteRt)(bytes)}));
let run, loading;
const choose = async () => { run = real(await openSession(usable[$('session').value])); answer(); };
/** The model's input of a page of ink, and the reasons to doubt that it shows a digit; null if nothing is drawn. */
const read = (drawn, digit = findDigit(toGray(drawn), drawn.w, drawn.h), mnist = digit && normalize(digit)) => digit && [toInput(mnist), implausibilities(digit, mnist)];
function answer() {
  const start = performance.now(), found = read(page);
  show(...found ?? []);
  say($('cost'), found ? `${(performance.now() - start).toFixed(1)} ms from the strokes to the answer` : '', 'note');
}
function show(input, reasons) {
  seen.clearRect(0, 0, 20, 20);
  if (!input) return showAnswer('', '', [], '');
  const scores = Array.from(run(input)), powers = scores.map(score => Math.exp((score - Math.max(...scores)) / SITE.temperature));
  const shares = SITE.output === 'logits' ? powers.map(power => power / powers.reduce((a, b) => a + b)) : scores, best = argmax(shares);
  const doubts = shares[best] >= MIN_PROBABILITY ? reasons : [...reasons, 'no digit reaches a probability of 80%'], label = SITE.labels[best];
  showAnswer(label, doubts.length ? `unsure: ${doubts.join('; ')}` : `${label}, ${percent(shares[best])}`, shares, doubts.length ? 'unsure' : '');
  const pixels = seen.createImageData(20, 20); // the input is column by column
  input.forEach((v, i) => pixels.data.set([255 - 255 * v, 255 - 255 * v, 255 - 255 * v, 255], 4 * (i % 20 * 20 + Math.floor(i / 20))));
  seen.putImageData(pixels, 0, 0);
}
function showAnswer(label, verdict, shares, name) {
  say($('digit'), label, name);
  say($('verdict'), verdict, name);
  [...$('bars').children].forEach((bar, i) => {
    bar.className = SITE.labels[i] === label ? 'best' : '';
    bar.children[1].style.setProperty('--p', `${100 * (shares[i] ?? 0)}%`);
    bar.lastChild.textContent = shares.length ? percent(shares[i]) : '';
  });
}
/** Draw on the canvas for the eye, and on the page of ink for the model. */
function line(from, to) {
  drawLine(page, from, to);
  Object.assign(sketch, {lineWidth: 2 * PEN * ZOOM, lineCap: 'round', strokeStyle: getComputedStyle(canvas).color});
  sketch.stroke(new Path2D(`M${from.map(v => v * ZOOM)} L${to.map(v => v * ZOOM)}`));
}
function keep(count) {
  strokes.length = Math.max(0, count);
  page.d.fill(0);
  sketch.clearRect(0, 0, canvas.width, canvas.height);
  for (const stroke of strokes) stroke.forEach((to, i) => line(stroke[Math.max(0, i - 1)], to));
  answer();
}
function draw(event) {
  if (event.type === 'pointerdown') { canvas.setPointerCapture(event.pointerId); strokes.push([]); }
  if (!canvas.hasPointerCapture(event.pointerId)) return;
  const {left, top, width, height} = canvas.getBoundingClientRect(), stroke = strokes.at(-1), several = event.getCoalescedEvents?.() ?? [];
  for (const {clientX, clientY} of several.length ? several : [event]) {
    const place = [(clientX - left) / width, (clientY - top) / height].map(v => Math.min(WORKING_SIZE - MARGIN, Math.max(MARGIN, v * WORKING_SIZE)));
    line(stroke.at(-1) ?? place, place);
    stroke.push(place);
  }
  $('verdict').ariaBusy = true; // a screen reader waits for the end of the stroke
  answer();
}
const proof = () => loading ??= load('model/proof.f32').then(bytes => {
  const values = new Float32Array(bytes.buffer), {images, width, labels, probes} = SITE, sizes = [images * width, images * labels.length, images, probes * width];
  const parts = sizes.map((size, i) => values.subarray(...[i, i + 1].map(n => sizes.slice(0, n).reduce((a, b) => a + b, 0))));
  return {x: parts[0], golden: parts[1], labels: parts[2], probes: parts[3]};
});
async function proveAll() {
  const data = await proof(), rows = [];
  for (const planned of plan) {
    const {artifact: {file, bytes, sha256}, missing, ...names} = planned, facts = {artifact: file, ...names, images: SITE.images, threads: 1, bytes, sha256};
    say($('result'), `${file} in ${names.runtime}`);
    try {
      const found = missing ? null : await openSession(planned), onProgress = done => { $('progress').value = (rows.length + done) / plan.length; };
      const results = missing ? {message: missing, passed: true} : await prove(found, found.bytes, data, SITE.labels.length, onProgress);
      rows.push({...facts, status: missing ? 'missing' : 'ok', ...results});
    } catch (cause) { rows.push({...facts, status: 'error', message: cause.message, passed: false}); }
    tabulate(rows.at(-1));
  }
  const ran = rows.filter(row => row.status !== 'missing'), wrong = ran.filter(row => !row.passed).length, passed = !wrong && ran.length > 0;
  const reading = {raw: null, now: [], since_boot: []}, method = {windows: 5, min_seconds: 0, seed: 0, threads: 1};
  const timed = {machine: await machine(), throttling: {before: reading, after: reading}, threats: [], invalid: null, cut_short: false, method};
  const report = JSON.stringify({schema: 1, passed, bundle: SITE.name, images: SITE.images, unseen: false, rows, ...timed}, null, 2);
  Object.assign($('save'), {href: URL.createObjectURL(new Blob([report], {type: 'application/json'})), download: `parity-${SITE.name}.json`, hidden: false});
  say($('result'), passed ? `Parity holds: in all ${ran.length} rows, this browser gives the trained model's answer on every image.` : `PARITY FAILS in ${wrong} of ${ran.length} rows.`, passed ? 'good' : 'bad');
}
function tabulate(row) {
  const cells = $('rows').insertRow(), windows = row.window_p50_ns, verdict = row.status === 'missing' ? '' : row.passed ? 'good' : 'bad';
  const us = windows && median(windows) / 1000, counted = row.status === 'ok' ? `${row.mismatches} of ${row.images}` : row.status;
  const texts = [row.artifact, row.runtime, row.kernels, counted, row.max_abs_diff?.toPrecision(2), row.message || row.arithmetic, us?.toFixed(1)];
  texts.forEach((text, i) => say(cells.insertCell(), text ?? '', i === 3 ? verdict : ''));
}
/** The browser and the device, with the keys that `edgedigits benchmark --json` has for a machine. */
async function machine() {
  const data = navigator.userAgentData, agent = navigator.userAgent, system = /\(([^)]*)\)/.exec(agent)?.[1] ?? null;
  const hints = await data?.getHighEntropyValues(['architecture', 'bitness', 'fullVersionList', 'model', 'platformVersion']).catch(() => null);
  const brands = hints?.fullVersionList.filter(({brand}) => !/not.?a/i.test(brand)) ?? [], brand = brands.find(({brand}) => brand !== 'Chromium') ?? brands[0];
  const [, name, version] = /(Firefox|Version|Chrome)\/([\d.]+)/.exec(agent) ?? ['', 'browser', agent]; // Safari has its own in Version/
  const packages = {[brand?.brand ?? name.replace('Version', 'Safari')]: brand?.version ?? version, edgedigits: SITE.version, 'litert.js': SITE.litert};
  const os = hints ? `${data.platform} ${hints.platformVersion}`.trim() : system, architecture = hints ? `${hints.architecture} ${hints.bitness}` : null;
  return {model: hints?.model || system, os, architecture, temperature_millicelsius: null, cores: navigator.hardwareConcurrency ?? null, packages, user_agent: agent, date: new Date().toISOString()};
}
async function start() {
  if (!sketch) throw new Error('this browser has no canvas to draw on; use another browser');
  if (!usable.length) throw new Error(absent);
  $('bars').innerHTML = '<li><b></b><span></span><em></em></li>'.repeat(SITE.labels.length);
  SITE.labels.forEach((label, i) => { $('bars').children[i].firstChild.textContent = label; });
  usable.forEach((row, i) => $('session').add(new Option(`${row.artifact.file} in ${row.runtime} (${row.kernels})`, i)));
  await choose();
  canvas.onpointerdown = canvas.onpointermove = draw;
  canvas.onpointerup = canvas.onpointercancel = () => { $('verdict').ariaBusy = false; };
  const undo = $('undo').onclick = () => keep(strokes.length - 1), clear = $('clear').onclick = () => keep(0);
  canvas.onkeydown = ({key, ctrlKey, metaKey}) => { if (key === 'Escape') clear(); else if (key === 'z' && (ctrlKey || metaKey)) undo(); };
  matchMedia('(prefers-color-scheme: dark)').onchange = () => keep(strokes.length); // in the other color of ink
  $('session').onchange = () => choose().catch(failed);
  $('parity').hidden = $('pick').hidden = !SITE.files['model/proof.f32'];
  $('index').max = SITE.images - 1;
  $('index').onchange = ({target: {valueAsNumber: at}}) => proof().then(({x}) => {
    clear();
    if (at >= 0 && at < SITE.images) show(x.subarray(at * SITE.width, (at + 1) * SITE.width), []);
  }).catch(failed);
  $('prove').onclick = async () => {
    $('prove').disabled = true;
    $('table').hidden = $('progress').hidden = false;
    $('rows').replaceChildren();
    await proveAll().catch(cause => say($('result'), cause.message, 'bad'));
    $('progress').hidden = true;
    $('prove').disabled = false;
  };
  $('state').hidden = true;
  document.body.dataset.ready = performance.now(); // from here on it answers
  const trial = image(WORKING_SIZE, WORKING_SIZE, (x, y) => +(x > 55 && x < 65 && y > 30 && y < 90));
  for (let i = 0; i < 20; i++) setTimeout(() => run(read(trial)[0]), 20 * i); // the browser compiles what the first stroke needs
  if (!$('packed') && navigator.serviceWorker) { // which a browser offers with https or on localhost
    await navigator.serviceWorker.register('sw.js');
    await navigator.serviceWorker.ready;
    $('offline').textContent = ', works offline now';
  }
}
start().catch(failed);
