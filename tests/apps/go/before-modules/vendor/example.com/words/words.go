// Package words is what another repository would hold.
package words

// Greeting is said to everybody.
const Greeting = "hello"
