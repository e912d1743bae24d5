// A study in an archive with DICOMweb in; what OHIF shows of its Segmentations and its report out, and screenshots.
//
//   node ohif.mjs --viewers FOLDER --archive http://127.0.0.1:8042 --chromium FILE --study UID --seg UID [--seg UID]
//                 --report UID --out FILE.json --picture FILE.png --report-picture FILE.png
//
// FOLDER is what `.ci/viewers` fills. Serves OHIF's built files and passes /dicom-web on to the archive, so that the browser sees one origin, and drives a
// headless Chromium. What is reported is the viewer's own state: each segment's label and colour, and how many voxels
// of its own labelmap have its number; and the text of the page with the report in it.

import { createReadStream, existsSync, statSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";
import { parseArgs } from "node:util";

const options = Object.fromEntries(
  ["viewers", "archive", "study", "report", "out", "picture", "report-picture", "chromium"].map((name) => [name, { type: "string" }]),
);
options.seg = { type: "string", multiple: true };
const { values } = parseArgs({ options });
const puppeteer = createRequire(join(values.viewers, "here.js"))("puppeteer-core");
const built = join(values.viewers, "ohif");

const TYPES = {
  ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
  ".wasm": "application/wasm", ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon",
};

const CONFIG = `window.config = {
  routerBasename: "/", extensions: [], modes: [], showStudyList: true, showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false, strictZSpacingForVolumeViewport: true, defaultDataSourceName: "archive",
  investigationalUseDialog: { option: "never" },
  dataSources: [{
    namespace: "@ohif/extension-default.dataSourcesModule.dicomweb", sourceName: "archive",
    configuration: {
      friendlyName: "archive", name: "archive", wadoUriRoot: "/dicom-web", qidoRoot: "/dicom-web",
      wadoRoot: "/dicom-web", qidoSupportsIncludeField: false, imageRendering: "wadors",
      thumbnailRendering: "wadors", enableStudyLazyLoad: true, supportsFuzzyMatching: false,
      supportsWildcard: true, bulkDataURI: { enabled: true, relativeResolution: "studies" },
    },
  }],
};`;

function pass(incoming, outgoing) {
  const target = new URL(incoming.url, values.archive);
  const { host, ...headers } = incoming.headers;
  const onward = request(target, { method: incoming.method, headers: { ...headers, host: incoming.headers.host } },
    (answer) => { outgoing.writeHead(answer.statusCode, answer.headers); answer.pipe(outgoing); });
  onward.on("error", (error) => { outgoing.writeHead(502); outgoing.end(String(error)); });
  incoming.pipe(onward);
}

function serve(incoming, outgoing) {
  const path = new URL(incoming.url, "http://here").pathname;
  if (path.startsWith("/dicom-web")) return pass(incoming, outgoing);
  if (path === "/app-config.js") {
    outgoing.writeHead(200, { "content-type": TYPES[".js"] });
    return outgoing.end(CONFIG);
  }
  const file = join(built, normalize(path));
  const found = existsSync(file) && statSync(file).isFile() ? file : join(built, "index.html");
  outgoing.writeHead(200, {
    "content-type": TYPES[extname(found)] ?? "application/octet-stream",
    "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp",
  });
  createReadStream(found).pipe(outgoing);
}

// Runs in the page.
async function segmentation(segSeriesUid) {
  const { cornerstoneViewportService, displaySetService, segmentationService, viewportGridService } = window.services;
  const until = async (what, seconds) => {
    for (const end = Date.now() + 1000 * seconds; Date.now() < end; ) {
      const found = what();
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return undefined;
  };
  const displaySet = await until(
    () => displaySetService.getActiveDisplaySets().find((each) => each.SeriesInstanceUID === segSeriesUid), 60);
  if (!displaySet) return { error: "the Segmentation is not listed" };
  if (!displaySet.isLoaded) await displaySet.load({ headers: {} });
  const id = displaySet.displaySetInstanceUID;
  const shown = await until(() => segmentationService.getSegmentation(id), 60);
  if (!shown) return { error: "the Segmentation was not loaded", messages: displaySet.messages };
  const counts = {};
  const labelmap = shown.representationData.Labelmap ?? {};
  const images = labelmap.imageIds ?? [];
  for (const imageId of images) {
    const image = window.cornerstone.cache.getImage(imageId);
    const pixels = image.voxelManager ? image.voxelManager.getScalarData() : image.getPixelData();
    for (const value of pixels) if (value) counts[value] = (counts[value] ?? 0) + 1;
  }
  const viewportId = viewportGridService.getActiveViewportId();
  await segmentationService.addSegmentationRepresentation(viewportId, { segmentationId: id, type: "Labelmap" });
  const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportId);
  await viewport.setImageIdIndex(Math.floor(viewport.getImageIds().length / 2));
  viewport.render();
  const colour = (number) => Array.from(segmentationService.getSegmentColor(viewportId, id, number) ?? []).slice(0, 3);
  return {
    title: shown.label,
    images: images.length,
    segments: Object.values(shown.segments).filter(Boolean).map(({ segmentIndex, label }) => ({
      number: segmentIndex, label, colour: colour(segmentIndex), voxels: counts[segmentIndex] ?? 0,
    })),
  };
}

// Runs in the page.
async function report(seriesUid) {
  const { displaySetService, viewportGridService } = window.services;
  const displaySet = displaySetService.getActiveDisplaySets().find((each) => each.SeriesInstanceUID === seriesUid);
  if (!displaySet) return "the report is not listed";
  const viewportId = viewportGridService.getActiveViewportId();
  viewportGridService.setDisplaySetsForViewport({
    viewportId, displaySetInstanceUIDs: [displaySet.displaySetInstanceUID],
  });
  await new Promise((resolve) => setTimeout(resolve, 4000));
  return document.body.innerText;
}

// Until the study is listed and its images are shown.
async function open(page, mode) {
  await page.goto(`${origin}/${mode}?StudyInstanceUIDs=${values.study}`, { waitUntil: "domcontentloaded" });
  await page.waitForFunction(() => {
    const { cornerstoneViewportService, displaySetService, viewportGridService } = window.services ?? {};
    if (!displaySetService || displaySetService.getActiveDisplaySets().length < 2) return false;
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    return Boolean(viewport?.getCurrentImageId?.() && window.cornerstone.cache.getImage(viewport.getCurrentImageId()));
  }, { timeout: 90000 });
}

const server = createServer(serve).listen(0, "127.0.0.1");
await new Promise((resolve) => server.on("listening", resolve));
const origin = `http://127.0.0.1:${server.address().port}`;
const browser = await puppeteer.launch({
  executablePath: values.chromium,
  args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
  defaultViewport: { width: 1400, height: 900 },
});
try {
  const page = await browser.newPage();
  await page.evaluateOnNewDocument(() => localStorage.setItem("shownTours", '["basicViewerTour"]'));
  const said = [];
  page.on("pageerror", (error) => said.push(String(error)));
  await open(page, "segmentation");
  const found = { segmentations: [] };
  for (const uid of values.seg) found.segmentations.push(await page.evaluate(segmentation, uid));
  await new Promise((resolve) => setTimeout(resolve, 3000));
  await page.screenshot({ path: values.picture });
  if (values.report) {
    await open(page, "viewer");
    found.report = await page.evaluate(report, values.report);
    await page.screenshot({ path: values["report-picture"] });
  }
  writeFileSync(values.out, JSON.stringify({ ...found, errors: said }, null, 1));
} finally {
  await browser.close();
  server.close();
}
