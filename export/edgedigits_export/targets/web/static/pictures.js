// A drawn page to the model's input, as edgedigits/pictures has it: segmentation, then normalization. A drawing has a white
// page, no noise and a margin, so there is no background to estimate, no ruled line and no sheet of paper to zoom in on.
// An image is {w, h, d: Float32Array}, row by row; a box is [top, left, bottom, right]. Names are those of the Python code.
import {even} from './tflite.js';
export const PEN = 5; // pixels: the radius of a drawn line
const f32 = Math.fround, RIM = 2, MARGIN = 4, BOX_SIDE = 20, MNIST_SIDE = 28, SIDE = 20, MIN_CONTRAST = 0.08, STROKE_LEVEL = f32(0.3);
const MIN_MASS = 0.02, MIN_LENGTH = 0.15, MAX_GAP = 0.3, USUAL_STROKES = [2.1, 3.9], ADJUSTED_STROKES = [2.6, 3.6];
export function image(w, h, value) {
  const d = new Float32Array(w * h);
  if (value) for (let i = 0, y = 0; y < h; y++) for (let x = 0; x < w; x++) d[i++] = value(x, y);
  return {w, h, d};
}
const update = (d, value) => { for (let i = 0; i < d.length; i++) d[i] = value(d[i], i); return d; }; // copies would keep the garbage collector busy
export const pixel = ({w, h, d}, x, y) => x < 0 || y < 0 || x >= w || y >= h ? 0 : d[y * w + x];
export const largest = values => values.reduce((a, b) => b > a ? b : a, 0);
/** A part of an image; zeros where it reaches outside. */
export const crop = (from, [top, left, bottom, right]) => image(right - left, bottom - top, (x, y) => pixel(from, left + x, top + y));
export const transpose = m => image(m.h, m.w, (x, y) => pixel(m, y, x));
const pad = (from, n) => crop(from, [-n, -n, from.h + n, from.w + n]);
const union = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
function boxOf(pixels, w, h) {
  let [top, left, bottom, right] = [h, w, 0, 0];
  for (const at of pixels) {
    const x = at % w, y = (at - x) / w;
    [top, left, bottom, right] = [y < top ? y : top, x < left ? x : left, y < bottom ? bottom : y + 1, x < right ? right : x + 1];
  }
  return [top, left, bottom, right];
}
export const boundingBox = ({w, h, d}, level) => boxOf(d.reduce((found, v, at) => { if (v > level) found.push(at); return found; }, []), w, h);
/** Visit the indices of a square of 2 * reach + 1 pixels, as far as it lies within the image. */
function around(at, reach, {w, h}, visit) {
  const x = at % w, y = (at - x) / w, right = Math.min(w - 1, x + reach), bottom = Math.min(h - 1, y + reach);
  for (let v = Math.max(0, y - reach); v <= bottom; v++) for (let u = Math.max(0, x - reach); u <= right; u++) visit(v * w + u);
}
/** Draw a line on a page of ink. Not with the canvas: browsers blur differently. */
export function drawLine({w, h, d}, [x0, y0], [x1, y1], radius = PEN) {
  const dx = x1 - x0, dy = y1 - y0, square = dx * dx + dy * dy, reach = radius + 1;
  const range = (a, b, size) => [Math.max(0, Math.floor(Math.min(a, b) - reach)), Math.min(size - 1, Math.ceil(Math.max(a, b) + reach))];
  const [left, right] = range(x0, x1, w), [top, bottom] = range(y0, y1, h);
  for (let y = top; y <= bottom; y++) for (let x = left; x <= right; x++) {
    const px = x + 0.5 - x0, py = y + 0.5 - y0, t = square ? Math.min(1, Math.max(0, (px * dx + py * dy) / square)) : 0;
    const distance = Math.sqrt((px - t * dx) ** 2 + (py - t * dy) ** 2);
    d[y * w + x] = Math.max(d[y * w + x], Math.min(1, Math.max(0, radius + 0.5 - distance)));
  }
}
/** A page of ink as the gray picture, 0..255, that `edgedigits predict` would be given. */
export const toGray = ({d}) => update(new Uint8Array(d.length), (_, i) => 255 - Math.round(255 * d[i]));
/** NumPy's float32 sum, pairwise in blocks of 128, of at least 8 values: another order could change the last bit. */
function sum(values) {
  const half = values.length >> 1 & ~7, r = values.slice(0, 8);
  if (values.length > 128) return f32(sum(values.subarray(0, half)) + sum(values.subarray(half)));
  values.subarray(8, values.length & ~7).forEach((v, i) => { r[i % 8] += v; });
  const [a, b, c, d] = [0, 2, 4, 6].map(i => f32(r[i] + r[i + 1]));
  return values.subarray(values.length & ~7).reduce((total, v) => f32(total + v), f32(f32(a + b) + f32(c + d)));
}
/** Gray pixels 0..255, dark on white, at most 128 on a side -> {ink, mask, box, count}; null if nothing is drawn. */
export function findDigit(gray, w, h) {
  const ink = image(w, h), strongest = largest(update(ink.d, (_, i) => 1 - f32(gray[i] / 255)));
  if (strongest < MIN_CONTRAST) return null;
  const strong = update(ink.d, v => v / strongest).filter(v => v > 0.5), typical = f32(sum(strong) / strong.length);
  update(ink.d, v => Math.min(v / typical, 1));
  const [parts, count] = selectDigit(components(ink, STROKE_LEVEL), w, h), mask = image(w, h), kept = image(w, h);
  for (const part of parts) for (const at of part.pixels) {
    mask.d[at] = 1;
    around(at, RIM, ink, near => { kept.d[near] = ink.d[near]; });
  }
  return {ink: kept, mask, box: parts.map(part => part.box).reduce(union), count};
}
/** The connected components (8 neighbors) of the pixels above a level, in reading order. */
export function components(from, level) {
  const {w, h, d} = from, todo = update(new Uint8Array(d.length), (_, i) => d[i] > level), found = [];
  for (let start = todo.indexOf(1); start >= 0; start = todo.indexOf(1, start)) {
    const pixels = [], add = at => { if (todo[at]) { todo[at] = 0; pixels.push(at); } };
    add(start);
    for (const at of pixels) around(at, 1, from, add); // which makes it longer
    const box = boxOf(pixels, w, h), mass = pixels.reduce((sum, at) => sum + d[at], 0);
    found.push({pixels, box, mass, longest: Math.max(box[2] - box[0], box[3] - box[1])});
  }
  return found;
}
function selectDigit(all, w, h) {
  const contains = (o, i) => o[0] < i[0] && o[1] < i[1] && i[2] < o[2] && i[3] < o[3], least = MIN_LENGTH * Math.max(w, h);
  all.sort((a, b) => b.mass - a.mass);
  const frame = all.find(({box}) => box[2] - box[0] > 0.8 * h && box[3] - box[1] > 0.8 * w);
  if (frame && all.some(each => contains(frame.box, each.box) && each.longest >= least)) all = all.filter(each => each !== frame);
  const inside = all.filter(each => contains([0, 0, h, w], each.box));
  if (inside[0]?.longest >= least && inside[0].mass >= 0.05 * all[0].mass) all = inside;
  const [main] = all, marks = all.filter(each => each === main || each.mass >= MIN_MASS * main.mass);
  const others = marks.filter(each => each !== main && isAnotherDigit(main, each)), similar = others.filter(each => each.longest >= 0.45 * main.longest);
  return [marks.filter(each => !others.includes(each)), 1 + similar.length];
}
function isAnotherDigit({box: a, longest}, {box: b}) {
  const [down, across] = [0, 1].map(i => Math.max(a[i], b[i]) - Math.min(a[i + 2], b[i + 2])), heights = [a[2] - a[0], b[2] - b[0]];
  return Math.max(down, across) > MAX_GAP * longest || (across >= 1 && Math.min(...heights) >= 0.6 * Math.max(...heights));
}
/** Twice the area divided by the length of the outline (Cauchy-Crofton formula), pixels. */
export function strokeWidth(mask) {
  let sides = 0, area = 0;
  for (let y = 0; y <= mask.h; y++) for (let x = 0; x <= mask.w; x++) {
    area += pixel(mask, x, y);
    sides += (pixel(mask, x, y) !== pixel(mask, x - 1, y)) + (pixel(mask, x, y) !== pixel(mask, x, y - 1));
  }
  return 2 * area / (Math.max(sides, 1) * Math.PI / 4);
}
/** A found digit in the data set's geometry, 28x28. */
export const normalize = digit => centerByMass(scaleToBox(...adjustStrokes(digit)));
function adjustStrokes({ink, mask, box}) {
  const [top, left, bottom, right] = box, longest = Math.max(bottom - top, right - left), width = strokeWidth(crop(mask, box)) * BOX_SIDE / longest;
  const aim = width < USUAL_STROKES[0] ? ADJUSTED_STROKES[0] : width > USUAL_STROKES[1] ? ADJUSTED_STROKES[1] : width;
  const reach = Math.abs(aim - width) / 2 * longest / BOX_SIDE, whole = Math.trunc(reach), share = f32(reach % 1);
  if (reach < 0.1) return [ink, box];
  const extreme = aim > width ? Math.max : Math.min, rim = RIM + whole + 2, part = [top - rim, left - rim, bottom + rim, right + rim];
  const less = squareFilter(crop(ink, part), whole, extreme), more = squareFilter(less, 1, extreme);
  const adjusted = {...less, d: less.d.map((v, i) => f32(f32(1 - share) * v) + f32(share * more.d[i]))};
  return [adjusted, boundingBox(adjusted, f32(0.3 * largest(adjusted.d)))];
}
function squareFilter(from, reach, extreme) {
  const one = (m, dx, dy) => image(m.w, m.h, (x, y) => extreme(pixel(m, x - dx, y - dy), pixel(m, x, y), pixel(m, x + dx, y + dy)));
  return reach ? squareFilter(one(one(from, 0, 1), 1, 0), reach - 1, extreme) : from; // the zeros outside are the page
}
/** The box's edges to a fraction of a pixel: where the ink crosses half of the strongest. */
function subpixelBox(ink, box) {
  const profile = m => Array.from({length: m.h}, (_, y) => largest(m.d.subarray(y * m.w, y * m.w + m.w)));
  const rise = values => {
    const level = 0.5 * largest(values), first = values.findIndex(v => v >= level), before = values[first - 1] ?? 0;
    return first - (values[first] - level) / Math.max(values[first] - before, 1e-6);
  };
  const edges = [crop(ink, box), transpose(crop(ink, box))].map(profile).map((values, i) => {
    const start = box[i] + rise(values);
    return [start, Math.max(box[i + 2] - rise(values.reverse()), start + 1)];
  });
  return [edges[0][0], edges[1][0], edges[0][1], edges[1][1]];
}
const hamming = x => x === 0 ? 1 : x >= 1 ? 0 : Math.sin(x * Math.PI) / (x * Math.PI) * (0.54 + 0.46 * Math.cos(x * Math.PI));
const bicubic = x => x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
/** Pillow's resize of a box to (width, height), see src/libImaging/Resample.c; 8 bits round as it does. */
export function resize(from, [top, left, bottom, right], width, height, eightBits = false) {
  const taps = (size, start, end, out, [kernel, support]) => Array.from({length: out}, (_, i) => {
    const scale = f32(end - start) / out, wide = Math.max(scale, 1), center = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support * wide + 0.5)), past = Math.min(size, Math.trunc(center + support * wide + 0.5));
    const weights = Array.from({length: past - first}, (_, k) => kernel(Math.abs((k + first - center + 0.5) * (1 / wide))));
    const sum = weights.reduce((a, b) => a + b, 0) || 1;
    return [first, weights.map(v => eightBits ? Math.trunc(v / sum * 2 ** 22 + (v < 0 ? -0.5 : 0.5)) : v / sum)];
  });
  const round = eightBits ? sum => Math.min(Math.max(Math.floor((sum + 2 ** 21) / 2 ** 22), 0), 255) : sum => sum;
  const kind = Math.max(bottom - top, right - left) > Math.max(width, height) ? [hamming, 1] : [bicubic, 2];
  const rows = (m, start, end, out) => { // resizes each row, and transposes
    const each = taps(m.w, f32(start), f32(end), out, kind);
    const one = (at, weights) => { let sum = 0; for (let k = 0; k < weights.length; k++) sum += weights[k] * m.d[at + k]; return round(sum); };
    return image(m.h, out, (y, x) => one(y * m.w + each[x][0], each[x][1]));
  };
  return rows(rows(from, left, right, width), top, bottom, height);
}
function scaleToBox(ink, box) {
  const [top, left, bottom, right] = subpixelBox(ink, box), scale = BOX_SIDE / Math.max(bottom - top, right - left), padded = pad(ink, MARGIN);
  const [height, width] = [bottom - top, right - left].map(n => Math.max(1, even(n * scale)));
  const inside = (at, size) => Math.min(Math.max(at + MARGIN, 0), size);
  const digit = resize(padded, [inside(top, padded.h), inside(left, padded.w), inside(bottom, padded.h), inside(right, padded.w)], width, height);
  const clipped = digit.d.map(v => Math.min(Math.max(v, 0), 1)), most = f32(Math.max(largest(clipped), 1e-6));
  return {...digit, d: clipped.map(v => v / most)};
}
function centerByMass(digit) {
  const total = weight => digit.d.reduce((sum, v, i) => sum + v * weight(i), 0), mass = total(() => 1);
  const start = (weight, size) => Math.min(Math.max(even(MNIST_SIDE / 2 - total(weight) / mass), 0), MNIST_SIDE - size);
  const top = start(i => Math.floor(i / digit.w), digit.h), left = start(i => i % digit.w, digit.w);
  return crop(digit, [-top, -left, MNIST_SIDE - top, MNIST_SIDE - left]);
}
/** The antialiased bicubic resize that made X.npy, 28 -> 20 along one axis, edges repeated. */
const SHRINK = Array.from({length: SIDE}, (_, i) => {
  const scale = SIDE / MNIST_SIDE, center = (i + 0.5) / scale - 0.5, first = Math.floor(center - 2 / scale), row = new Float64Array(MNIST_SIDE);
  const taps = Array.from({length: Math.ceil(4 / scale) + 2}, (_, k) => bicubic(Math.abs(scale * (center - first - k)))), sum = taps.reduce((a, b) => a + b);
  taps.forEach((v, k) => { row[Math.min(Math.max(first + k, 0), MNIST_SIDE - 1)] += v / sum; });
  return Array.from(row, (v, x) => [x, v]).filter(([, v]) => v);
});
/** A 28x28 image -> the model's input, (400,) float32, column by column. */
export function toInput({d}) {
  const lines = SHRINK.map(taps => Array.from({length: MNIST_SIDE}, (_, x) => taps.reduce((sum, [y, v]) => sum + v * d[y * MNIST_SIDE + x], 0)));
  return update(new Float32Array(SIDE * SIDE), (_, i) => SHRINK[Math.floor(i / SIDE)].reduce((sum, [x, v]) => sum + v * lines[i % SIDE][x], 0));
}
