package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/keystore"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/boxo/path"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// announceTimeout bounds the telling of others where a name leads.
const announceTimeout = time.Minute

// SelfKey is the key that every node has.
const SelfKey = "self"

// NameRecord is where a name is to lead.
type NameRecord struct {
	// Key names the key in the repository that signs; it is made if there is
	// none of that name.
	Key string `json:"key"`
	// Path is the /ipfs/ path to lead to.
	Path string `json:"path"`
	// TTL is how long whoever has resolved the name need not do so again, and
	// Lifetime how long the record is valid unless it is renewed, which a node
	// that is online does by itself.
	TTL      time.Duration `json:"ttl"`
	Lifetime time.Duration `json:"lifetime"`
}

// NamePublished is what came of publishing a name.
type NamePublished struct {
	Name string `json:"name"`
	// Unannounced is why nobody else knows yet, empty if somebody does.
	Unannounced string `json:"unannounced,omitempty"`
}

// PublishName has a name of this node lead to a path. When it returns nil the
// record is on the disk; a node that is online announces it again and again.
func (n *Node) PublishName(ctx context.Context, r NameRecord) (NamePublished, error) {
	done, err := n.backing.publishName(ctx, r)
	if err != nil && image.ClassOf(err) == 0 {
		err = &image.Error{Op: fmt.Sprintf("publish a name for %s with the key %q", r.Path, r.Key), Err: err}
	}
	return done, err
}

func (e *embedded) publishName(ctx context.Context, r NameRecord) (NamePublished, error) {
	if err := namesAllowed(e.moving(), false, "publish a name"); err != nil {
		return NamePublished{}, err
	}
	to, err := path.NewPath(r.Path)
	if err != nil {
		return NamePublished{}, err
	}
	key, err := e.key(r.Key)
	if err != nil {
		return NamePublished{}, err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return NamePublished{}, err
	}
	done := NamePublished{Name: ipns.NameFromPeer(id).String()}
	tell, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	err = e.node.Namesys.Publish(tell, key, to, namesys.PublishWithEOL(time.Now().Add(r.Lifetime)), namesys.PublishWithTTL(r.TTL))
	switch {
	case err != nil && !e.publishes(ctx, id, to):
		return NamePublished{}, err
	case err != nil:
		done.Unannounced = err.Error()
	case !e.node.IsOnline:
		done.Unannounced = "the node is offline"
	}
	return done, nil
}

// publishes reports whether the record on the disk says that the name leads to a path.
func (e *embedded) publishes(ctx context.Context, id peer.ID, to path.Path) bool {
	data, err := e.node.Repo.Datastore().Get(ctx, namesys.IpnsDsKey(ipns.NameFromPeer(id)))
	if err != nil {
		return false
	}
	record, err := ipns.UnmarshalRecord(data)
	if err != nil {
		return false
	}
	p, err := record.Value()
	return err == nil && p.String() == to.String()
}

// key returns the key of the repository with the name, and makes it if need be.
func (e *embedded) key(name string) (crypto.PrivKey, error) {
	if name == SelfKey {
		return e.node.PrivateKey, nil
	}
	keys := e.node.Repo.Keystore()
	key, err := keys.Get(name)
	if !errors.Is(err, keystore.ErrNoSuchKey) {
		return key, err
	}
	if key, _, err = crypto.GenerateEd25519Key(rand.Reader); err != nil {
		return nil, err
	}
	return key, keys.Put(name, key)
}
