// Reads entries of kvwrap, written from docs/format.md alone, with the standard library of Node.js.
//
// Standard input: one JSON object a line, with `entry` (hex), `collection` (or null), `key`, `now`
// (Unix seconds), `keys` (hex by name, all AES-256-GCM) and `context` (hex).
// Standard output: one JSON object a line, with `value`, `missing` or `error`.
"use strict";
const crypto = require("node:crypto");
const readline = require("node:readline");
const zlib = require("node:zlib");

const NOTHING = Buffer.alloc(0);

function length4(buffer) {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(buffer.length);
  return Buffer.concat([size, buffer]);
}

function names(collection, key) {
  const space = collection === null ? NOTHING : Buffer.from(collection, "utf8");
  const mark = collection === null ? 0 : space.length + 1;
  return Buffer.concat([Buffer.from(`${mark}:`, "ascii"), space, Buffer.from(key, "utf8")]);
}

function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function commitment(key) {
  const info = Buffer.from("kvwrap key commitmentaes-256-gcm", "ascii");
  return Buffer.from(crypto.hkdfSync("sha256", key, NOTHING, info, 16));
}

function decrypt(body, codec, header, request) {
  const id = codec.subarray(1, 5).toString("hex");
  const name = Object.keys(request.keys).find(
    (each) => crypto.createHash("sha256").update(each).digest("hex").slice(0, 8) === id,
  );
  if (name === undefined) throw new Error(`no key has the id ${id}`);
  const key = Buffer.from(request.keys[name], "hex");
  if (!crypto.timingSafeEqual(body.subarray(0, 16), commitment(key)))
    throw new Error("the commitment is not that of the key");
  const space = request.collection;
  const bound = Buffer.concat([
    Buffer.from([2]),
    length4(Buffer.from(request.context, "hex")),
    space === null ? Buffer.from([0]) : Buffer.concat([Buffer.from([1]), length4(Buffer.from(space, "utf8"))]),
    length4(Buffer.from(request.key, "utf8")),
    header.subarray(3, 9),
    codec,
  ]);
  const decipher = crypto.createDecipheriv("aes-256-gcm", key, body.subarray(16, 28));
  decipher.setAAD(bound);
  decipher.setAuthTag(body.subarray(body.length - 16));
  const text = decipher.update(body.subarray(28, body.length - 16));
  return Buffer.concat([text, decipher.final()]);
}

function read(request) {
  const data = Buffer.from(request.entry, "hex");
  if (data.length < 28 || data.readUInt16BE(0) !== 0xab6b || data[2] !== 2)
    throw new Error("no entry of this format");
  const size = data[23];
  const header = data.subarray(0, 24 + size);
  let body = data.subarray(28 + size);
  const covered = Buffer.concat([names(request.collection, request.key), header, body]);
  if (crc32(covered) !== data.readUInt32BE(24 + size)) throw new Error("the checksum is wrong");

  const expiries = [header.readUIntBE(9, 6)];
  let codec = header.subarray(24);
  while (codec.length > 0) {
    const first = codec[0];
    if (first === 0x3f) {
      const annotation = codec.subarray(2, 2 + codec[1]);
      if (annotation[0] === 1) expiries.push(annotation.readUIntBE(1, 6));
      if (annotation[0] === 3 && expiries[0] > 0) expiries.push(expiries[0] - annotation.readUIntBE(1, 6));
      codec = codec.subarray(2 + codec[1]);
      continue;
    }
    if (first === 0x98) body = decrypt(body, codec, header, request);
    else if (first === 0x10 && zlib.zstdDecompressSync) body = zlib.zstdDecompressSync(body);
    else if (first === 0x11) body = zlib.gunzipSync(body);
    else if (first === 0x13) body = zlib.brotliDecompressSync(body);
    else if (first === 0x01) body = JSON.parse(body.toString("utf8"));
    else if (first === 0x04) body = body.toString("hex");
    else throw new Error(`this reader does not know the step ${first.toString(16)}`);
    codec = codec.subarray(1 + (first >> 5));
  }
  if (expiries.some((each) => each > 0 && each <= request.now * 1000)) return { missing: true };
  return { value: body };
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  let result;
  try {
    result = read(JSON.parse(line));
  } catch (error) {
    result = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
});
