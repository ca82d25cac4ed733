package main

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"

	"example.com/commands/v2/internal/text"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s from Go %s\n", text.Word, strings.Join(strings.Split(runtime.Version(), ".")[:2], "."))
	})
	if err := http.ListenAndServe(":"+os.Getenv("PORT"), nil); err != nil {
		panic(err)
	}
}
