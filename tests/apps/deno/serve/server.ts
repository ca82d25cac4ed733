const word = await Deno.readTextFile("dist/word.txt");

export default {
  fetch(): Response {
    return new Response(`${word} from deno serve\n`);
  },
};
