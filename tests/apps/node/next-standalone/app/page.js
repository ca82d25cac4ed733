import { version } from "ms/package.json";

export default function Page() {
  return <p>{`hello from ms ${version}`}</p>;
}
