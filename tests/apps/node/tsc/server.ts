import http = require("http");
import ms = require("ms/package.json");

// Node alone cannot run this: it takes types away, and an enum is more than a type.
enum Greeting { First = "hello" }

http.createServer((request, response) => response.end(`${Greeting.First} from ms ${ms.version}\n`)).listen(process.env.PORT);
