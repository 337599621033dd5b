package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/database"
	_ "github.com/btcsuite/btcd/database/ffldb"
	"github.com/btcsuite/btcd/peer"
	"github.com/btcsuite/btcd/wire/v2"
)

// follower is a light client: btcd's peer brings headers, btcd's chain checks them.
type follower struct {
	chain *blockchain.BlockChain
	out   sync.Mutex
}

func (f *follower) tell(event map[string]any) {
	f.out.Lock()
	defer f.out.Unlock()
	line, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func (f *follower) refuse(p *peer.Peer, err error) {
	f.tell(map[string]any{"event": "refused", "why": err.Error()})
	p.Disconnect()
}

func (f *follower) ask(p *peer.Peer) {
	locator, err := f.chain.LatestBlockLocatorByHeader()
	if err == nil {
		err = p.PushGetHeadersMsg(locator, &chainhash.Hash{})
	}
	if err != nil {
		f.refuse(p, err)
	}
}

func (f *follower) headers(p *peer.Peer, msg *wire.MsgHeaders) {
	for _, header := range msg.Headers {
		if _, err := f.chain.ProcessBlockHeader(header, blockchain.BFNone, false); err != nil {
			f.refuse(p, err)
			return
		}
	}
	hash, height := f.chain.BestHeader()
	f.tell(map[string]any{"event": "headers", "count": len(msg.Headers), "height": height, "hash": hash.String()})
	if len(msg.Headers) == wire.MaxBlockHeadersPerMsg {
		f.ask(p)
	}
}

func (f *follower) announced(p *peer.Peer, msg *wire.MsgInv) {
	for _, row := range msg.InvList {
		if row.Type == wire.InvTypeBlock && !f.chain.IsValidHeader(&row.Hash) {
			f.tell(map[string]any{"event": "inv", "hash": row.Hash.String()})
			f.ask(p)
		}
	}
}

func (f *follower) listeners(ready chan<- struct{}) peer.MessageListeners {
	return peer.MessageListeners{
		OnVersion: func(_ *peer.Peer, msg *wire.MsgVersion) *wire.MsgReject {
			f.tell(map[string]any{
				"event": "version", "agent": msg.UserAgent, "services": uint64(msg.Services),
				"version": msg.ProtocolVersion, "height": msg.LastBlock,
			})
			return nil
		},
		OnVerAck:  func(*peer.Peer, *wire.MsgVerAck) { close(ready) },
		OnHeaders: f.headers,
		OnInv:     f.announced,
		OnNotFound: func(_ *peer.Peer, msg *wire.MsgNotFound) {
			for _, row := range msg.InvList {
				f.tell(map[string]any{"event": "notfound", "hash": row.Hash.String()})
			}
		},
	}
}

func follow(address string, v2 bool, folder string) error {
	db, err := database.Create("ffldb", filepath.Join(folder, "headers"), chaincfg.RegressionNetParams.Net)
	if err != nil {
		return err
	}
	defer db.Close()
	chain, err := blockchain.New(&blockchain.Config{
		DB: db, ChainParams: &chaincfg.RegressionNetParams, TimeSource: blockchain.NewMedianTime(),
	})
	if err != nil {
		return err
	}
	f := &follower{chain: chain}
	ready := make(chan struct{})
	config := &peer.Config{
		UserAgentName: "follow", UserAgentVersion: "1.0", ChainParams: &chaincfg.RegressionNetParams,
		DisableRelayTx: true, Listeners: f.listeners(ready), UsingV2Conn: v2, TrickleInterval: time.Second,
	}
	if v2 {
		config.Services = wire.SFNodeP2PV2
	}
	p, err := peer.NewOutboundPeer(config, address)
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	p.AssociateConnection(conn)
	go func() {
		select {
		case <-ready:
			p.QueueMessage(wire.NewMsgSendHeaders(), nil)
			f.ask(p)
		case <-p.Done():
		}
	}()
	go f.obey(p)
	p.WaitForDisconnect()
	f.tell(map[string]any{"event": "gone"})
	return nil
}

// obey reads commands, one a line: "block HASH" asks for a block. The end of the input ends the client.
func (f *follower) obey(p *peer.Peer) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		text, found := strings.CutPrefix(lines.Text(), "block ")
		hash, err := chainhash.NewHashFromStr(text)
		if !found || err != nil {
			f.refuse(p, fmt.Errorf("no such command: %q", lines.Text()))
			return
		}
		wanted := wire.NewMsgGetData()
		if err := wanted.AddInvVect(wire.NewInvVect(wire.InvTypeWitnessBlock, hash)); err == nil {
			p.QueueMessage(wanted, nil)
		}
	}
	p.Disconnect()
}
