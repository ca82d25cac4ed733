import { version } from "ms/package.json";

export const loader = () => ({ version });

export default function Home({ loaderData }) {
  return <p>{`hello from ms ${loaderData.version}`}</p>;
}
