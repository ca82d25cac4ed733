await Deno.mkdir("dist", { recursive: true });
await Deno.writeTextFile("dist/word.txt", "hello");
