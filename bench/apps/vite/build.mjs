// Runs Vite and prints how long it took, so that the bench can take the app's own time from the whole.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const started = performance.now()
const { status } = spawnSync('vite', ['build'], { stdio: 'inherit' })
console.log(`VITE_SECONDS ${((performance.now() - started) / 1000).toFixed(3)}`)
console.log(`SCRIPT_SECONDS ${secondsOf(npm()).toFixed(3)}`)
process.exit(status ?? 1)

// `npm run build`, which started a shell, which started this process.
function npm() {
  return statistics(process.ppid)[1]
}

function secondsOf(pid) {
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
  return uptime - Number(statistics(pid)[19]) / 100
}

function statistics(pid) {
  return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
}
