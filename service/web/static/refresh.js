"use strict";
// Every two seconds, while the page is seen: fetch its changing part and put in what changed.
// A part in which the reader has selected text is left alone until the selection is gone.

const PAUSE_MS = 2000;
const region = document.querySelector("[data-refresh]");
const notice = document.querySelector("#connection");
let lastAnswer = new Date();

function beingRead(part) {
  const selection = document.getSelection();
  return !selection.isCollapsed && selection.containsNode(part, true);
}

function put(fresh) {
  const focused = document.activeElement && document.activeElement.id;
  const old = [...region.children];
  const parts = [...fresh.children];
  if (old.length !== parts.length) {
    if (!beingRead(region)) region.replaceChildren(...parts);
  } else {
    old.forEach((part, place) => {
      if (part.outerHTML !== parts[place].outerHTML && !beingRead(part)) part.replaceWith(parts[place]);
    });
  }
  if (focused && document.activeElement.id !== focused) document.getElementById(focused)?.focus();
}

async function refresh() {
  try {
    const answer = await fetch(region.dataset.refresh, { signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    put(new DOMParser().parseFromString(await answer.text(), "text/html").body);
    lastAnswer = new Date();
    notice.hidden = true;
  } catch (error) {
    notice.textContent = `No answer since ${lastAnswer.toLocaleTimeString()} (${error.message}). What you see may be old.`;
    notice.hidden = false;
  }
}

async function loop() {
  if (!document.hidden) await refresh();
  setTimeout(loop, PAUSE_MS);
}

if (region) setTimeout(loop, PAUSE_MS);
