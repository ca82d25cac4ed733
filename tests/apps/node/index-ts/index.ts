import { createServer } from "node:http";
import manifest from "ms/package.json" with { type: "json" };

const port: number = Number(process.env.PORT);
createServer((request, response) => response.end(`hello from ms ${manifest.version}\n`)).listen(port);
