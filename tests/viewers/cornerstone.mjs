// Segmentations and the images they were made of in; what Cornerstone3D, the engine of OHIF, paints on each image out.
//
//   node cornerstone.mjs --viewers FOLDER < asked.json > painted.json
//
// FOLDER is what `.ci/viewers` fills. Asked is a list of {"seg": FILE, "images": [{"path": FILE, "frame": NUMBER or
// null}, ...]}, the images in the order in which a viewer happens to have them. Painted is, for each Segmentation,
// {"numbers": [...], "labels": [...], "shape": [ROWS, COLUMNS], "images": [BASE64, ...]}: segments by number and label
// and, of each image, the engine's own labelmap, a byte for each pixel; or {"error": WHAT} where the engine threw.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { viewers: { type: "string" } } });
const { resolve: find } = createRequire(join(resolve(values.viewers), "here.js"));
const load = async (name) => import(pathToFileURL(find(name)));
console.log = console.info = console.debug = console.warn = (...words) => console.error(...words); // stdout is JSON
const { metaData } = await load("@cornerstonejs/core");
const { adaptersSEG } = await load("@cornerstonejs/adapters");
const { data } = (await load("dcmjs")).default;

function read(path) {
  const { buffer, byteOffset, byteLength } = readFileSync(path);
  return buffer.slice(byteOffset, byteOffset + byteLength);
}

const parsed = new Map();
function header(path) {
  if (!parsed.has(path)) {
    const { dict } = data.DicomMessage.readFile(read(path));
    parsed.set(path, data.DicomMetaDictionary.naturalizeDataset(dict));
  }
  return parsed.get(path);
}

const first = (sequence) => (Array.isArray(sequence) ? sequence[0] : sequence);

// The attribute of one frame: its own functional group's, the shared one's, or the header's.
function attribute(instance, frame, macro, keyword) {
  const own = frame === null ? undefined : instance.PerFrameFunctionalGroupsSequence?.[frame - 1];
  const groups = [own, first(instance.SharedFunctionalGroupsSequence)];
  const item = groups.map((group) => first(group?.[macro])).find((found) => found?.[keyword] !== undefined);
  return Array.from((item ?? instance)[keyword] ?? [], Number);
}

const images = new Map(); // by imageId
function register({ path, frame }) {
  const imageId = `dicomfile:${path}` + (frame === null ? "" : `?frame=${frame}`);
  images.set(imageId, { instance: header(path), frame });
  return imageId;
}

// What a viewer tells the adapter of an image, module by module.
const MODULES = {
  instance: ({ instance }) => instance,
  generalImageModule: ({ instance }) => ({ sopInstanceUID: instance.SOPInstanceUID }),
  generalSeriesModule: ({ instance }) => ({ seriesInstanceUID: instance.SeriesInstanceUID, modality: "MR" }),
  imagePixelModule: () => ({ bitsAllocated: 16, bitsStored: 16, highBit: 15, samplesPerPixel: 1 }),
  imagePlaneModule: ({ instance, frame }) => {
    const orientation = attribute(instance, frame, "PlaneOrientationSequence", "ImageOrientationPatient");
    const [rowPixelSpacing, columnPixelSpacing] = attribute(instance, frame, "PixelMeasuresSequence", "PixelSpacing");
    return {
      rows: instance.Rows, columns: instance.Columns, frameOfReferenceUID: instance.FrameOfReferenceUID,
      imageOrientationPatient: orientation, rowCosines: orientation.slice(0, 3), columnCosines: orientation.slice(3),
      imagePositionPatient: attribute(instance, frame, "PlanePositionSequence", "ImagePositionPatient"),
      rowPixelSpacing, columnPixelSpacing,
    };
  },
};
const tell = (module, imageId) => (images.has(imageId) ? MODULES[module]?.(images.get(imageId)) : undefined);
metaData.addProvider(tell, 10000);

async function paint({ seg, images: asked }) {
  const imageIds = asked.map(register);
  const own = new Map(); // the adapter keeps the Segmentation itself here
  const metadataProvider = {
    get: (module, imageId) => own.get(`${module} ${imageId}`) ?? tell(module, imageId),
    addCustomMetadata: (imageId, module, value) => own.set(`${module} ${imageId}`, value),
  };
  const made = await adaptersSEG.Cornerstone3D.Segmentation.createFromDICOMSegBuffer(
    imageIds, read(seg), { metadataProvider });
  const segments = made.segMetadata.data.filter(Boolean);
  const { Rows, Columns } = header(asked[0].path);
  return {
    numbers: segments.map((each) => Number(each.SegmentNumber)),
    labels: segments.map((each) => each.SegmentLabel),
    shape: [Rows, Columns],
    images: made.labelMapImages.flat().map(
      (image) => Buffer.from(image.voxelManager.getScalarData()).toString("base64")),
  };
}

const answers = [];
for (const each of JSON.parse(readFileSync(0, "utf8"))) {
  answers.push(await paint(each).catch((error) => ({ error: String(error?.stack ?? error) })));
}
process.stdout.write(JSON.stringify(answers), () => process.exit(0));
