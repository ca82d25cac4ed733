const a = require("a");
require("http").createServer((request, response) => response.end("hello from ms " + require("ms/package.json").version + " and " + a + "\n")).listen(process.env.PORT);
