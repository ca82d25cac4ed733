import { createServer } from "node:http";
import { version } from "ms/package.json";
import { greeting } from "words";

enum Word { Name = "ms" }  // which Node itself does not run
createServer((request, response) => { response.end(`${greeting} from ${Word.Name} ${version}\n`); }).listen(process.env.PORT);
