// Package page says what the app says.
package page

import "example.com/words"

// Text is the whole page.
func Text() string { return words.Greeting + " from vendor\n" }
