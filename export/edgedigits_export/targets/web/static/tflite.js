// Dense .tflite models in plain JavaScript, with the arithmetic of edgedigits/runtimes/oracle: float32, and int8 on each
// kernel set bit for bit. The sources of the rounding rules are named there.
const ARRAYS = {float32: Float32Array, int32: Int32Array, int8: Int8Array}, TYPES = {0: 'float32', 2: 'int32', 9: 'int8'}; // TensorType
const OPERATORS = {6: 'DEQUANTIZE', 9: 'FULLY_CONNECTED', 22: 'RESHAPE', 114: 'QUANTIZE'}; // BuiltinOperator in the schema
const ACTIVATIONS = [[-Infinity, Infinity], [0, Infinity], [-1, 1], [0, 6]];
export const KERNELS = ['exact', 'ruy', 'reference', 'xnnpack'];
const f32 = Math.fround, clamp = (x, low, high) => x < low ? low : x > high ? high : x;
const away = x => Math.trunc(x + (x < 0 ? -0.49999999999999994 : 0.49999999999999994)); // round ties away from zero, or to even
export const even = x => { const r = Math.round(x); return r - x === 0.5 && r % 2 ? r - 1 : r; };
/** {input, output, operators, quantum} of a .tflite, a FlatBuffers file: the quantum is one step of its int8 outputs, or null. */
export function readModel(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = at => view.getUint32(at, true), i32 = at => view.getInt32(at, true), i8 = at => view.getInt8(at);
  const number = (table, slot, get) => { // a field of a table; 0 if it is absent
    const vtable = table - i32(table), entry = 4 + 2 * slot, field = entry < view.getUint16(vtable, true) ? view.getUint16(vtable + entry, true) : 0;
    return field && get(table + field);
  };
  const child = (table, slot) => number(table, slot, at => at + u32(at));
  const vector = (table, slot, kind) => {
    const at = child(table, slot), size = at ? u32(at) * kind.BYTES_PER_ELEMENT : 0;
    if (at + 4 + size > bytes.length) throw new RangeError('a vector lies outside the file');
    return new kind(bytes.slice(at + 4, at + 4 + size).buffer);
  };
  const children = (table, slot) => Array.from(vector(table, slot, Uint32Array), (offset, i) => child(table, slot) + 4 + 4 * i + offset);
  if (String.fromCharCode(...bytes.subarray(4, 8)) !== 'TFL3') throw new Error('not a .tflite');
  try {
    const model = u32(0), codes = children(model, 1), [graph] = children(model, 2), buffers = children(model, 4);
    const tensors = children(graph, 0).map(table => {
      const q = child(table, 4), type = TYPES[number(table, 1, i8)], data = vector(buffers[number(table, 2, u32)], 0, Uint8Array);
      const scale = q ? [...vector(q, 2, Float32Array)] : [], zero = q ? Array.from(vector(q, 3, BigInt64Array), Number) : [];
      return {type, shape: [...vector(table, 0, Int32Array)], values: data.length && type ? new ARRAYS[type](data.buffer) : null, scale, zero};
    });
    const operators = children(graph, 3).map(table => {
      const code = codes[number(table, 0, u32)], name = OPERATORS[Math.max(number(code, 0, i8), number(code, 3, i32))], options = child(table, 4);
      const [fused, format] = options && name === 'FULLY_CONNECTED' ? [number(options, 0, i8), number(options, 1, i8)] : [0, 0];
      return {name, fused, format, inputs: Array.from(vector(table, 1, Int32Array), i => tensors[i]), output: tensors[vector(table, 2, Int32Array)[0]]};
    });
    const [input, output] = [1, 2].map(slot => tensors[vector(graph, slot, Int32Array)[0]]);
    if (!input || !output) throw new RangeError('it has no input or no output');
    return {input, output, operators, quantum: operators.map(op => op.output).filter(tensor => tensor?.type === 'int8').at(-1)?.scale[0] ?? null};
  } catch (cause) { throw new Error(`a damaged .tflite: ${cause.message}`); }
}
/** Integer sums -> integer outputs without their zero point, see `rescaler` in the oracle's arithmetic.py. */
function rescaler(xScale, wScale, yScale, kernels) {
  const factor = f32(f32(xScale * wScale) / yScale), real = xScale * wScale / yScale;
  if (kernels === 'xnnpack') return sum => even(f32(f32(sum) * factor));
  if (kernels === 'exact') return sum => away(sum * real);
  let shift = Math.floor(Math.log2(real)) + 1;
  while (real / 2 ** shift >= 1) shift++;
  while (real / 2 ** shift < 0.5) shift--;
  let multiplier = away(real / 2 ** shift * 2 ** 31);
  if (multiplier === 2 ** 31) [multiplier, shift] = [2 ** 30, shift + 1];
  if (shift < -31) [multiplier, shift] = [0, 0];
  const m = BigInt(multiplier), left = BigInt(Math.max(shift, 0)), right = BigInt(Math.max(-shift, 0));
  const half = (1n << right) >> 1n, low = kernels === 'ruy' || !right ? 0n : 1n;
  return sum => {
    const high = ((BigInt(sum) << left) * m + (1n << 30n)) >> 31n;
    return Number((high + half - (high < 0n ? low : 0n)) >> right);
  };
}
/** FULLY_CONNECTED; its output array is used again. All arrays are float64, which is exact here: browsers run one kind faster. */
function dense({inputs: [x, w, bias], output: y, fused, format}, kernels) {
  const fits = w?.values && x.type === w.type && x.type === y.type && !format && ACTIVATIONS[fused];
  if (!fits) throw new Error('the js runtime lacks this kind of FULLY_CONNECTED; use LiteRT.js');
  const [units, depth] = w.shape, out = new Float64Array(units), b = new Float64Array(bias?.values ?? units), [low, high] = ACTIVATIONS[fused];
  const layer = (matrix, offset, finish) => v => {
    for (let u = 0, k = 0; u < units; u++) {
      let sum = 0;
      for (let i = 0; i < depth; i++) sum += v[i] * matrix[k++];
      out[u] = finish(sum + offset[u], u);
    }
    return out;
  };
  if (x.type === 'float32') return layer(new Float64Array(w.values), b, sum => f32(clamp(sum, low, high)));
  const each = u => w.scale.length > 1 ? u : 0, matrix = Float64Array.from(w.values, (value, k) => value - w.zero[each(Math.floor(k / depth))]);
  const offset = Float64Array.from(b, (value, u) => value - x.zero[0] * matrix.subarray(u * depth, u * depth + depth).reduce((p, q) => p + q, 0));
  const rescale = Array.from(b, (_, u) => rescaler(x.scale[0], w.scale[each(u)], y.scale[0], kernels)), [zero] = y.zero;
  const [least, most] = [low, high].map(bound => f32(bound / y.scale[0])).map(q => kernels === 'xnnpack' ? even(q + zero) : away(q) + zero);
  return layer(matrix, offset, (sum, u) => clamp(rescale[u](sum) + zero, Math.max(-128, least), Math.min(127, most)));
}
/** float32 -> int8 of a tensor: as TensorSpec.quantize and optimized kernels do, or as TFLite's AffineQuantize. */
function quantizer({scale: [scale], zero: [zero]}, kernels) {
  const low = f32(scale * (-128 - zero)), high = f32(scale * (127 - zero)), inverse = f32(1 / scale);
  const one = ['ruy', 'xnnpack'].includes(kernels) ? v => even(f32(clamp(v, low, high) * inverse)) + zero : v => clamp(away(f32(v / scale)) + zero, -128, 127);
  return values => values.map(one);
}
const dequantizer = ({scale: [scale], zero: [zero]}) => values => new Float64Array(values).map(q => f32(f32(q - zero) * scale));
/** A dense .tflite as {input, output, quantum, run}: run takes and gives one image in the file's own types. */
export function open(bytes, kernels = 'exact') {
  const model = readModel(bytes), steps = [];
  for (let at = model.output; at !== model.input;) {
    const op = model.operators.find(each => each.output === at), x = op?.inputs[0], kind = `${op?.name} ${x?.type} ${at.type}`;
    if (op?.name === 'FULLY_CONNECTED') steps.unshift(dense(op, kernels));
    else if (kind === 'QUANTIZE float32 int8') steps.unshift(quantizer(at, kernels));
    else if (kind === 'DEQUANTIZE int8 float32') steps.unshift(dequantizer(x));
    else if (op?.name !== 'RESHAPE' || x.type !== at.type) throw new Error('the model has operators that the js runtime lacks; use LiteRT.js');
    at = x;
  }
  return {...model, run: x => new ARRAYS[model.output.type](steps.reduce((values, step) => step(values), new Float64Array(x)))};
}
/** What a session of the Python API does: one float32 image -> float32 outputs, whatever the file's own types are. */
export function real({input, output, run}) {
  const into = input.type === 'int8' ? quantizer(input, 'xnnpack') : x => x, from = output.type === 'int8' ? dequantizer(output) : y => y;
  return x => new Float32Array(from(run(new ARRAYS[input.type](into(x)))));
}
