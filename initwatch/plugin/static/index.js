// The two ways in: TensorBoard's tab, and the report that carries its data in itself.

import { embedded, server } from "./api.js";
import { App } from "./app.js";
import { h } from "./dom.js";

/** What TensorBoard calls once it has loaded this module. */
export async function render() {
  const style = h("link", { rel: "stylesheet", href: new URL("./style.css", import.meta.url) });
  // sizes are measured when drawing: the style sheet comes first
  await new Promise((resolve) => {
    style.addEventListener("load", resolve);
    style.addEventListener("error", resolve);
    document.head.append(style);
  });
  begin(server);
}

/** The same drawing from data in the page, see `embedded`. */
export function report(data) {
  begin(embedded(data));
}

function begin(api) {
  document.documentElement.lang = "en";
  const root = h("div", { id: "initwatch" });
  document.body.append(root);
  new App(root, api).start();
}
