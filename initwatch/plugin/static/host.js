// What surrounds the tab: TensorBoard's page, the theme, the clipboard.

/**
 * Calls back when TensorBoard has reloaded its data.
 *
 * TensorBoard's frame speaks JSON over a MessagePort that it hands over on
 * 'experimental.bootstrap'; see tensorboard/components/experimental/plugin_lib.
 */
export function onReload(callback) {
  if (window.parent === window) return;
  const channel = new MessageChannel();
  channel.port1.onmessage = (event) => {
    let message;
    try {
      message = JSON.parse(event.data);
    } catch {
      return; // not of this protocol
    }
    if (message.isReply) return;
    if (message.type === "experimental.DataReloaded") callback();
    const reply = { type: message.type, id: message.id, payload: null, error: null, isReply: true };
    channel.port1.postMessage(JSON.stringify(reply));
  };
  window.parent.postMessage("experimental.bootstrap", "*", [channel.port2]);
}

/** TensorBoard's page, if it may be read: nobody promises that it may. */
function hostBody() {
  try {
    return window.parent === window ? null : window.parent.document.body;
  } catch {
    return null;
  }
}

/** Sets `data-theme` on the page as TensorBoard's own, else as the system's; then on each change. */
export function followTheme(changed) {
  const body = hostBody();
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const set = () => {
    const dark = body ? body.classList.contains("dark-mode") : system.matches;
    const theme = dark ? "dark" : "light";
    if (document.documentElement.dataset.theme === theme) return;
    document.documentElement.dataset.theme = theme;
    changed();
  };
  if (body) new MutationObserver(set).observe(body, { attributeFilter: ["class"] });
  else system.addEventListener("change", set);
  set();
}

const KEY = "initwatch"; // in the storage of this browser tab, which ends with it

/** What `keep` was given before the page was loaded again, {} if nothing. */
export function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // a browser may deny a frame its storage
  }
}

/** Keeps an object over a reload of the page, where the browser allows it. */
export function keep(state) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(state));
  } catch {
    return; // then the page begins anew
  }
}

/** Copies text; true if it was. A frame may be denied the clipboard: then as of old. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.style.cssText = "position:fixed;opacity:0";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
