// What the tests need of btcd's own packages, as programs: a light client whose headers are checked by btcd's
// block chain, and a check of transaction proofs by gcash's merkleblock package (a fork's; btcd has no such check).
//
//	btc follow ADDR v1|v2 FOLDER   follows the node at ADDR; what happens is told as one JSON object a line
//	btc proof                      reads a proof in hex from the standard input and tells what it proves
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 5 && os.Args[1] == "follow":
		err = follow(os.Args[2], os.Args[3] == "v2", os.Args[4])
	case len(os.Args) == 2 && os.Args[1] == "proof":
		err = proof()
	default:
		err = fmt.Errorf("usage: btc follow ADDR v1|v2 FOLDER, or btc proof")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
