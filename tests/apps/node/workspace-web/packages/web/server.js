const ms = require("ms/package.json").version, say = require("words");
require("http").createServer((request, response) => response.end(`${say()} from ms ${ms}\n`)).listen(process.env.PORT);
