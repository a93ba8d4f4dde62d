// Predicts with a portable file in Node.js.
//
//     npm ci --ignore-scripts
//     node predict.mjs model.onnx rows.json
//
// rows.json holds a list of objects, one a row, with the raw columns by name: numbers, texts,
// true or false, dates as ISO 8601 texts; null where a value is missing. Prints one JSON object
// with the outputs of the graph by name.

import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";

/** Return the manifest: onnxruntime-node does not give the metadata, so the file is read. */
function readManifest(content) {
  for (const [number, entry] of fields(content)) {
    if (number !== 14) continue; // ModelProto.metadata_props
    const parts = Object.fromEntries(fields(entry)); // 1 is the key, 2 the value
    if (text(parts[1]) === "automl_fuse") return JSON.parse(text(parts[2]));
  }
  throw new Error("this is no portable file of automl_fuse: it has no manifest");
}

/** Yield number and content of each field of a protocol buffer; integers are passed over. */
function* fields(content) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = content[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < content.length) {
    const tag = varint();
    const length = varint();
    if (tag % 8 !== 2) continue;
    yield [Math.floor(tag / 8), content.subarray(at, at + length)];
    at += length;
  }
}

const text = (bytes) => new TextDecoder().decode(bytes);

/** Return one raw column as the manifest says that the graph reads it. */
function graphInput(each, rows) {
  const cells = rows.map((row) => row[each.column] ?? null);
  const shape = [rows.length, 1];
  if (each.type === "double") {
    return new ort.Tensor("float64", Float64Array.from(cells, (c) => (c === null ? NaN : Number(c))), shape);
  }
  if (each.type === "int64") {
    return new ort.Tensor("int64", BigInt64Array.from(cells, microseconds), shape);
  }
  return new ort.Tensor("string", cells.map((c) => (c === null ? each.missing : word(c))), shape);
}

/** Return a cell as the text that stands for it: true and false as Python writes them. */
const word = (cell) => (typeof cell === "boolean" ? (cell ? "True" : "False") : String(cell));

/** Return microseconds since 1970 in UTC; the least integer stands for a missing date. */
function microseconds(cell) {
  if (cell === null) return -(2n ** 63n);
  const [, moment, fraction] = cell.match(/^(.*?)(?:\.(\d+))?Z?$/);
  const whole = Date.parse(moment.length > 10 ? `${moment}Z` : moment); // a date alone is UTC
  return BigInt(whole) * 1000n + BigInt((fraction ?? "").padEnd(6, "0").slice(0, 6));
}

const [modelPath, rowsPath] = process.argv.slice(2);
const content = await readFile(modelPath);
const manifest = readManifest(content);
const unprepared = Object.keys(manifest.prepared);
if (unprepared.length) {
  throw new Error(`the inputs ${unprepared} must be prepared as docs/artefact.md says`);
}
const rows = JSON.parse(await readFile(rowsPath, "utf8"));
const session = await ort.InferenceSession.create(content, { intraOpNumThreads: 1 });
const feeds = Object.fromEntries(manifest.inputs.map((each) => [each.name, graphInput(each, rows)]));
const results = await session.run(feeds);
const outputs = {};
for (const [name, tensor] of Object.entries(results)) {
  const values = Array.from(tensor.data, (v) => (typeof v === "bigint" ? Number(v) : v));
  const width = tensor.dims.length > 1 ? tensor.dims[1] : 0;
  outputs[name] = width
    ? Array.from({ length: tensor.dims[0] }, (_, i) => values.slice(i * width, (i + 1) * width))
    : values;
}
console.log(JSON.stringify(outputs));
