import { version } from "ms/package.json";
const port: number = Number(process.env.PORT);
Bun.serve({ port, fetch: () => new Response("hello from ms " + version + " on bun\n") });
