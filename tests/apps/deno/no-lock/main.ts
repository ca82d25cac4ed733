import ms from "ms";
import manifest from "ms/package.json" with { type: "json" };

// Where it listens is in the environment: DENO_SERVE_ADDRESS.
Deno.serve(() => new Response(`hello from ms ${manifest.version}, ${ms("1h")}\n`));
