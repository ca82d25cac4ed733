const say = require("./words.js");
require("http").createServer((request, response) => response.end(say() + "\n")).listen(process.env.PORT);
