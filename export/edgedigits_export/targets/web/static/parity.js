// A row of `edgedigits parity --json` for one artifact in one runtime, with the timing fields of `edgedigits benchmark --json`.
import {even, KERNELS, open, real} from './tflite.js';
const BLOCK = 250, WINDOWS = 5;
/** The index of the largest score; the first on a tie. */
export const argmax = scores => scores.reduce((best, score, i) => score > scores[best] ? i : best, 0);
/** A class's score minus the largest other one, in float32. */
const lead = (scores, label) => Math.fround(scores[label] - scores.reduce((most, score, i) => i !== label && score > most ? score : most, -Infinity));
export const median = values => [...values].sort((a, b) => a - b)[values.length >> 1];
/** Run a session ({run, quantum, ...} of a file) on every image; yields to the page after each block of images. */
export async function prove(session, bytes, {x, labels, golden, probes}, classes, onProgress) {
  const run = real(session), images = labels.length, width = x.length / images, blocks = [], outputs = new Float32Array(images * classes);
  const row = i => x.subarray(i * width, i * width + width);
  for (let i = 0; i < 2 * BLOCK; i++) run(row(i % images)); // the browser compiles what runs often
  for (let start = 0; start < images; start += BLOCK) {
    const end = Math.min(images, start + BLOCK), before = performance.now();
    for (let i = start; i < end; i++) outputs.set(run(row(i)), i * classes);
    blocks.push((performance.now() - before) * 1e6 / (end - start));
    onProgress(end / images);
    await new Promise(resolve => setTimeout(resolve));
  }
  return {...compare(outputs, golden, labels, classes, session.quantum), arithmetic: rounding(session, bytes, probes.length ? probes : x, width), ...timing(blocks, images)};
}
/** The metrics of outputs against those of the trained model, see edgedigits/parity/result.py. */
export function compare(outputs, golden, labels, classes, quantum) {
  const mismatched = [], ledger = [], differences = outputs.map((score, i) => Math.abs(score - golden[i]));
  let ties = 0, errors = 0, least = Infinity;
  labels.forEach((label, image) => {
    const [found, trained] = [outputs, golden].map(scores => scores.subarray(image * classes, image * classes + classes));
    const predicted = argmax(found), expected = argmax(trained), own = even(lead(found, predicted) / quantum);
    if (predicted !== expected || !found.every(Number.isFinite)) mismatched.push(image);
    ties += lead(found, predicted) === 0;
    errors += predicted !== label;
    least = Math.min(least, even(lead(found, expected) / quantum));
    if (quantum && (predicted !== expected || own <= 1)) ledger.push({image, label: expected, int8_label: predicted,
      lead_quanta: Math.fround(lead(trained, expected) / quantum), int8_lead_quanta: own, kind: ['tie', 'near-tie'][own] ?? 'real'});
  });
  const counted = {mismatches: mismatched.length, mismatched, ties, errors, passed: !mismatched.length};
  if (!outputs.every(Number.isFinite)) return {...counted, message: 'some outputs are NaN or infinite'};
  const [largest, total] = differences.reduce(([most, sum], v) => [Math.max(most, v), sum + v], [0, 0]);
  return {...counted, max_abs_diff: largest, mean_abs_diff: total / golden.length, min_lead_quanta: quantum ? least : null, ledger};
}
/** Which kernel set of the js runtime gives the same int8 outputs bit for bit; null if it cannot run the model. */
function rounding(session, bytes, inputs, width) {
  if (!session.quantum) return null;
  const starts = Array.from({length: inputs.length / width}, (_, i) => i * width), run = real(session);
  const outputs = starts.map(at => run(inputs.subarray(at, at + width)).slice());
  try { open(bytes); } catch { return null; }
  const names = KERNELS.filter(kernels => {
    const oracle = real(open(bytes, kernels));
    return starts.every((at, i) => oracle(inputs.subarray(at, at + width)).every((score, k) => score === outputs[i][k]));
  });
  return names.length > 1 ? `cannot be told: ${names.join(' or ')}` : names[0] ?? 'unknown: outputs differ from those of every kernel set';
}
/** Medians of windows of blocks: a browser's clock is too coarse for single calls, so there are no percentiles. */
function timing(blocks, images) {
  const each = Math.ceil(blocks.length / WINDOWS), starts = blocks.map((_, i) => i).filter(i => i % each === 0);
  const windows = starts.map(at => Math.round(median(blocks.slice(at, at + each)))), spread = (Math.max(...windows) - Math.min(...windows)) / median(windows);
  return Math.min(...windows) > 0 ? {samples: images, window_p50_ns: windows, spread, noisy: spread > 0.1} : {};
}
