// LiteRT.js below its public API (@litertjs/core 2.5), which takes neither int8 tensors nor a batch axis of -1.
import {load} from './files.js';
import {readModel} from './tflite.js';
const ELEMENTS = {float32: 1, int8: 9}; // LiteRtElementType
const ARRAYS = {float32: Float32Array, int8: Int8Array};
// Modules of one function that uses an instruction of relaxed SIMD (i16x8.relaxed_dot_i8x16_i7x16_s), and of SIMD (i8x16.popcnt).
const head = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10];
const RELAXED = [...head, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11], SIMD = [...head, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
const supports = code => globalThis.WebAssembly?.validate(new Uint8Array(code)) ?? false;
/** The kernel set that LiteRT.js takes in this browser; null if it cannot run here. */
export const kernelSet = supports(RELAXED) ? 'relaxed-simd' : supports(SIMD) ? 'simd' : null;
let started;
async function start() {
  const name = `runtime/litert_wasm${kernelSet === 'simd' ? '_compat' : ''}_internal`, wasmBinary = await load(`${name}.wasm`);
  const script = Object.assign(document.createElement('script'), {src: URL.createObjectURL(new Blob([await load(`${name}.js`)], {type: 'text/javascript'}))});
  await new Promise((resolve, reject) => { Object.assign(script, {onload: resolve, onerror: reject}); document.head.append(script); });
  const wasm = await globalThis.ModuleFactory({wasmBinary, locateFile: file => file, print() {}, printErr() {}});
  return {wasm, environment: wasm.LiteRtEnvironment.create(null)};
}
/** A .tflite as `open` of tflite.js gives it, on one thread and for one image at a time. */
export async function openLiteRt(bytes) {
  const {wasm, environment} = await (started ??= start()), model = readModel(bytes), {READ, WRITE} = wasm.LiteRtTensorBufferLockMode;
  const at = wasm._malloc(bytes.length), dimensions = new wasm.VectorInt32();
  wasm.HEAPU8.set(bytes, at); // which must stay there as long as the model is used
  const loaded = wasm.loadModel(environment, at, bytes.length), options = {accelerator: 'wasm', cpuOptions: {numThreads: 1}, gpuOptions: {}, webNNOptions: {}};
  const compiled = await wasm.compileModel(environment, loaded, options);
  for (const n of model.input.shape) dimensions.push_back(n);
  const type = wasm.LiteRtRankedTensorType.create({value: ELEMENTS[model.input.type]}, wasm.LiteRtLayout.create(dimensions));
  const input = wasm.LiteRtTensorBuffer.createManaged(environment, wasm.LiteRtTensorBufferType.HOST_MEMORY, type, type.bytes());
  const output = new ARRAYS[model.output.type](model.output.shape.at(-1)), raw = new Uint8Array(output.buffer);
  const run = x => {
    wasm.HEAPU8.set(new Uint8Array(x.buffer, x.byteOffset, x.byteLength), input.lock(WRITE));
    input.unlock();
    const [result] = compiled.run(0, [input]), from = result.lock(READ);
    raw.set(wasm.HEAPU8.subarray(from, from + raw.length));
    result.unlock();
    result.delete();
    return output;
  };
  return {...model, run};
}
