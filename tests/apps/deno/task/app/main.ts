const port = Number(Deno.env.get("PORT"));
Deno.serve({ port, hostname: "0.0.0.0" }, () => new Response(`hello from Deno ${Deno.version.deno.split(".")[0]}, task start\n`));
