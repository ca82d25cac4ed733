import { readFileSync } from "node:fs";

const { version } = JSON.parse(readFileSync("node_modules/ms/package.json", "utf8"));
export default { plugins: [{ name: "ms", transformIndexHtml: (html) => html.replace("%MS%", version) }] };
