package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"time"

	"github.com/btcsuite/btcd/btcutil/v2/bloom"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/peer"
	"github.com/btcsuite/btcd/wire/v2"
)

const patience = 30 * time.Second

// filtered prints, in hex, the merkleblock (BIP37) that the node at the address makes of a block for some
// transactions. Its layout is that of Bitcoin Core's gettxoutproof.
func filtered(address string, block string, txids []string) error {
	wanted, err := chainhash.NewHashFromStr(block)
	if err != nil {
		return err
	}
	// At this rate of false positives no other transaction of the block matches.
	filter := bloom.NewFilter(uint32(len(txids)), 0, 1e-9, wire.BloomUpdateNone)
	for _, text := range txids {
		txid, err := chainhash.NewHashFromStr(text)
		if err != nil {
			return err
		}
		filter.AddHash(txid)
	}
	ready, answer := make(chan struct{}), make(chan *wire.MsgMerkleBlock, 1)
	p, err := peer.NewOutboundPeer(&peer.Config{
		UserAgentName: "filtered", UserAgentVersion: "1.0", ChainParams: &chaincfg.RegressionNetParams,
		TrickleInterval: time.Second,
		Listeners: peer.MessageListeners{
			OnVerAck:      func(*peer.Peer, *wire.MsgVerAck) { close(ready) },
			OnMerkleBlock: func(_ *peer.Peer, msg *wire.MsgMerkleBlock) { answer <- msg },
		},
	}, address)
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	p.AssociateConnection(conn)
	defer p.Disconnect()
	late := time.After(patience)
	select {
	case <-ready:
	case <-late:
		return fmt.Errorf("no handshake")
	}
	p.QueueMessage(filter.MsgFilterLoad(), nil)
	request := wire.NewMsgGetData()
	if err := request.AddInvVect(wire.NewInvVect(wire.InvTypeFilteredBlock, wanted)); err != nil {
		return err
	}
	p.QueueMessage(request, nil)
	select {
	case msg := <-answer:
		var raw bytes.Buffer
		if err := msg.BtcEncode(&raw, wire.ProtocolVersion, wire.BaseEncoding); err != nil {
			return err
		}
		fmt.Println(hex.EncodeToString(raw.Bytes()))
		return nil
	case <-late:
		return fmt.Errorf("no merkleblock")
	}
}
