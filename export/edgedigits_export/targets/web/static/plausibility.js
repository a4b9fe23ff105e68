// Does a drawing look like one digit at all? As edgedigits/pictures/plausibility.py has it, with the same limits and words.
import {boundingBox, components, crop, image, largest, pixel, resize, strokeWidth, transpose} from './pictures.js';
import {even} from './tflite.js';
const BOX_SIDE = 20, FINE_SIDE = 40, STROKE_LEVEL = 0.4, MAX_JUNCTIONS = 21, MAX_MEAN_CROSSINGS = 1.88, MAX_STROKE_LENGTH = 59;
const binary = (from, level) => ({...from, d: from.d.map(v => v > level ? 1 : 0)});
/** The reasons why a digit, found on the page and normalized to 28x28, may not be one. */
export function implausibilities({ink, box, count}, mnist) {
  const mask = binary(mnist, Math.fround(STROKE_LEVEL * largest(mnist.d))), around = boundingBox(mask, 0), tight = crop(mask, around);
  const padded = crop(mask, [-1, -1, mask.h + 1, mask.w + 1]), loops = components({...padded, d: padded.d.map(v => 1 - v)}, 0).length - 1;
  const width = strokeWidth(mask) * BOX_SIDE / Math.max(tight.w, tight.h), area = m => m.d.reduce((sum, v) => sum + v, 0);
  const fine = finer(crop(ink, box)), rotated = rotate45(fine), upright = binary(crop(fine, [2, 2, fine.h - 2, fine.w - 2]), 127);
  const views = [fine, rotated].flatMap(m => [binary(m, 127), transpose(binary(m, 127))]), crossings = rowCrossings(views[0]).filter(n => n);
  const meanCrossings = crossings.reduce((a, b) => a + b, 0) / Math.max(crossings.length, 1);
  const junctions = views.reduce((sum, view) => sum + countJunctions(view), 0), aspect = tight.w / tight.h;
  const length = area(upright) * (BOX_SIDE / FINE_SIDE) ** 2 / Math.max(strokeWidth(upright) * BOX_SIDE / FINE_SIDE, 0.5);
  const many = Math.max(...rowCrossings(padded)) > 3 || Math.max(...rowCrossings(transpose(padded))) > 4 || meanCrossings > MAX_MEAN_CROSSINGS;
  return [
    [count > 1, `${count} marks of similar size; crop to one digit`],
    [loops > 2, 'more loops than a digit has'],
    [many, 'more strokes side by side than a digit has'],
    [junctions > MAX_JUNCTIONS, 'more stroke junctions than a digit has'],
    [length > MAX_STROKE_LENGTH, 'longer strokes than a digit has'],
    [aspect > 1.5, 'wider than a digit; maybe there are two'],
    [aspect > 0.6 && (width > 4.6 || area(tight) / (tight.w * tight.h) > 0.62), 'a blob rather than strokes'],
  ].filter(([holds]) => holds).map(([, reason]) => reason);
}
/** The digit's ink as 8 bits, 40 pixels long, with a border of two. */
function finer(part) {
  const levels = {...part, d: part.d.map(v => Math.trunc(Math.fround(v * 255)))}, longest = Math.max(part.w, part.h);
  const [width, height] = [part.w, part.h].map(n => Math.max(1, even(n * FINE_SIDE / longest)));
  return crop(resize(levels, [0, 0, part.h, part.w], width, height, true), [-2, -2, height + 2, width + 2]);
}
/** Pillow's rotate(45, BILINEAR, expand=True). */
function rotate45(from) {
  const c = 0.707106781186548, {w, h} = from, x0 = c * (-w / 2) - c * (-h / 2) + w / 2, y0 = c * (-w / 2) + c * (-h / 2) + h / 2;
  const span = corners => Math.ceil(Math.max(...corners)) - Math.floor(Math.min(...corners)), clamp = (v, size) => Math.min(Math.max(v, 0), size - 1);
  const width = span([x0, c * w + x0, c * w - c * h + x0, x0 - c * h]), height = span([y0, c * w + y0, c * w + c * h + y0, c * h + y0]);
  const dx = c * (-(width - w) / 2) - c * (-(height - h) / 2) + x0, dy = c * (-(width - w) / 2) + c * (-(height - h) / 2) + y0;
  return image(width, height, (x, y) => {
    const u = c * (x + 0.5) - c * (y + 0.5) + dx, v = c * (x + 0.5) + c * (y + 0.5) + dy;
    if (u < 0 || v < 0 || u >= w || v >= h) return 0;
    const left = Math.floor(u - 0.5), top = Math.floor(v - 0.5), across = u - 0.5 - left, down = v - 0.5 - top;
    const line = row => { const a = pixel(from, clamp(left, w), row), b = pixel(from, clamp(left + 1, w), row); return a + (b - a) * across; };
    const upper = line(clamp(top, h)), lower = top + 1 < h ? line(top + 1) : upper;
    return Math.trunc(upper + (lower - upper) * down);
  });
}
/** The runs [start, end) of ones in each row. */
const findRuns = m => Array.from({length: m.h}, (_, y) => {
  const bounds = [];
  for (let x = 0; x <= m.w; x++) if (pixel(m, x, y) !== pixel(m, x - 1, y)) bounds.push(x);
  return bounds.flatMap((start, i) => i % 2 ? [] : [[start, bounds[i + 1]]]);
});
const rowCrossings = m => findRuns(m).map(runs => runs.length);
/** How often strokes split and join from top to bottom; a run that ends in the next row is a rough edge. */
function countJunctions(mask) {
  const rows = findRuns(mask), next = ([start, end], y) => (rows[y] ?? []).filter(run => run[1] >= start && run[0] <= end);
  const splits = (run, y, step) => Math.max(next(run, y + step).filter(each => next(each, y + 2 * step).length).length - 1, 0);
  return rows.flatMap((runs, y) => runs.map(run => splits(run, y, -1) + splits(run, y, 1))).reduce((a, b) => a + b, 0);
}
