package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/go-datastore"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	corerouting "github.com/libp2p/go-libp2p/core/routing"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	recordType = "application/vnd.ipfs.ipns-record"
	// quorum is how many peers of the DHT have to agree on a record. Kubo's.
	quorum = 16
	// betterWithin is how long to wait for a newer record than the first found.
	betterWithin = 3 * time.Second
)

// said is what one of those asked for a record said.
type said struct {
	from string
	data []byte
	err  error
}

// findRecord returns the newest valid record of a name. own says that this node
// publishes it itself: nobody can know better.
func (e *embedded) findRecord(ctx context.Context, name ipns.Name) (record *ipns.Record, own bool, err error) {
	data, err := e.node.Repo.Datastore().Get(ctx, namesys.IpnsDsKey(name))
	if err == nil {
		record, err := ipns.UnmarshalRecord(data)
		return record, true, err
	}
	if !errors.Is(err, datastore.ErrNotFound) {
		return nil, false, fmt.Errorf("read the record of this node: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers, asked := e.askForRecord(ctx, name)
	best, err := e.bestRecord(ctx, name, answers, asked)
	if err != nil {
		return nil, false, err
	}
	e.newest.Add(name, best)
	record, err = ipns.UnmarshalRecord(best)
	return record, false, err
}

// askForRecord asks all who might know, side by side. Each gives any number of
// answers, and then one that is empty.
func (e *embedded) askForRecord(ctx context.Context, name ipns.Name) (answers <-chan said, asked int) {
	out := make(chan said)
	tell := func(a said) {
		select {
		case out <- a:
		case <-ctx.Done():
		}
	}
	for _, g := range e.gateways {
		asked++
		go func() {
			data, err := recordFrom(ctx, g, name)
			tell(said{g.name, data, err})
			tell(said{})
		}()
	}
	if e.node.IsOnline && e.node.Routing != nil {
		asked++
		go func() {
			if err := routed(ctx, e.node.Routing, name, tell); err != nil {
				tell(said{from: "the network's routing", err: err})
			}
			tell(said{})
		}()
	}
	return out, asked
}

// recordFrom asks a gateway.
func recordFrom(ctx context.Context, g *supplier, name ipns.Name) ([]byte, error) {
	body, err := g.get(ctx, "/ipns/"+name.String()+"?format=ipns-record", recordType)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(io.LimitReader(body, int64(ipns.MaxRecordSize)+1))
	if err == nil && len(data) > ipns.MaxRecordSize {
		err = ipns.ErrRecordSize
	}
	return data, err
}

// routed asks the DHT, and pubsub where Kubo's configuration says so.
func routed(ctx context.Context, r corerouting.ValueStore, name ipns.Name, tell func(said)) error {
	values, err := r.SearchValue(ctx, string(name.RoutingKey()), dht.Quorum(quorum))
	if err != nil {
		return err
	}
	found := false
	for data := range values {
		found = true
		tell(said{from: "the network's routing", data: data})
	}
	if !found {
		return corerouting.ErrNotFound
	}
	return nil
}

// bestRecord waits for the answers of all who were asked, or for some time
// after the first good one, and returns the newest. It never goes back behind
// one that was seen before: an old record is a valid one.
func (e *embedded) bestRecord(ctx context.Context, name ipns.Name, answers <-chan said, asked int) ([]byte, error) {
	var told []string
	found, late := false, (<-chan time.Time)(nil)
	best, _ := e.newest.Get(name)
	for asked > 0 {
		select {
		case a := <-answers:
			if a.from == "" {
				asked--
				continue
			}
			if a.err == nil {
				best, a.err = e.newer(name, best, a.data)
			}
			switch {
			case a.err != nil:
				told = append(told, a.from+" ("+a.err.Error()+")")
			case !found:
				found, late = true, time.After(betterWithin)
			}
		case <-late:
			return best, nil
		case <-ctx.Done():
			asked = 0
			told = append(told, "no more was waited for: "+ctx.Err().Error())
		}
	}
	if found {
		return best, nil
	}
	if len(told) == 0 {
		return nil, errors.New("there is nobody to ask: the node is offline and has no gateway")
	}
	return nil, &image.Error{Class: image.Unavailable, Op: "find its record", Err: errors.New("asked were " + strings.Join(told, "; ")),
		Hint: "check that a node that publishes the name is online, or name a --peer or a --gateway that knows it"}
}

// newer returns the newer of two records of a name, the second of which has not
// been checked before.
func (e *embedded) newer(name ipns.Name, known, data []byte) ([]byte, error) {
	key := string(name.RoutingKey())
	if err := e.node.RecordValidator.Validate(key, data); err != nil {
		return known, fmt.Errorf("what it sent is no valid record: %w", err)
	}
	if stillValid := known != nil && e.node.RecordValidator.Validate(key, known) == nil; !stillValid {
		return data, nil
	}
	i, err := e.node.RecordValidator.Select(key, [][]byte{known, data})
	if err != nil {
		return known, err
	}
	return [][]byte{known, data}[i], nil
}
