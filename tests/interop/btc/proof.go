package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gcash/bchd/wire"
	"github.com/gcash/bchutil/merkleblock"
)

// proof tells of a proof the block it names, its matches, and whether they lead to the Merkle root of that block.
func proof() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	var msg wire.MsgMerkleBlock
	rest := bytes.NewReader(raw)
	if err := msg.BchDecode(rest, wire.ProtocolVersion, wire.BaseEncoding); err != nil {
		return err
	}
	if rest.Len() > 0 {
		return fmt.Errorf("%d bytes after the proof", rest.Len())
	}
	tree := merkleblock.NewMerkleBlockFromMsg(msg)
	root := tree.ExtractMatches()
	matches := []string{}
	for _, match := range tree.GetMatches() {
		matches = append(matches, match.String())
	}
	holds := root != nil && !tree.BadTree() && root.IsEqual(&msg.Header.MerkleRoot)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"block": msg.Header.BlockHash().String(), "transactions": msg.Transactions, "matches": matches, "holds": holds,
	})
}
