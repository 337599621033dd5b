// What the tests need of btcd's own packages, as programs: a light client whose headers are checked by btcd's block
// chain, btcd's own proofs of transactions, and a check of such proofs by the merkleblock package of gcash, a fork
// (btcd makes them and cannot check them).
//
//	btc follow ADDR v1|v2 FOLDER    follows the node at ADDR; what happens is told as one JSON object a line
//	btc filtered ADDR BLOCK TXID... asks the node at ADDR for a merkleblock and prints it in hex
//	btc proof                       reads a proof in hex from the standard input and tells what it proves
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
	case len(os.Args) >= 5 && os.Args[1] == "filtered":
		err = filtered(os.Args[2], os.Args[3], os.Args[4:])
	case len(os.Args) == 2 && os.Args[1] == "proof":
		err = proof()
	default:
		err = fmt.Errorf("usage: btc follow ADDR v1|v2 FOLDER; btc filtered ADDR BLOCK TXID...; btc proof")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
