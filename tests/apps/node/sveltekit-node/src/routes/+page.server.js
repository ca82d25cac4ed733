import { version } from "ms/package.json";

export const load = () => ({ version });
