const text = require("./generated.json") + " from ms " + require("ms/package.json").version;
require("http").createServer((request, response) => response.end(text + "\n")).listen(process.env.PORT);
