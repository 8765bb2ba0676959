package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// The values of Options.Names: which names that move are resolved and published.
const (
	// NamesAuto means all on the public network, keys apart from it, and none
	// in a private swarm.
	NamesAuto = "auto"
	NamesOff  = "off"
	// NamesKeys are those that the owner of a key signs.
	NamesKeys = "keys"
	// NamesAll are those and DNSLink names, for which the DNS is believed.
	NamesAll = "all"
)

const (
	// An answer is good for no less than minNameTTL and no more than maxNameTTL,
	// and that of a resolver that does not say for how long, for dnsTTL.
	minNameTTL = time.Second
	maxNameTTL = time.Hour
	dnsTTL     = time.Minute
	// maxNameDepth is how many names may lead one to the next.
	maxNameDepth = 8
)

// ResolveName implements image.NameSystem. It asks the network each time; its
// bound is that of a retrieval for which nothing arrives.
func (n *Node) ResolveName(ctx context.Context, name string) (image.Pointer, error) {
	ctx, cancel := context.WithTimeout(ctx, n.options.FetchTimeout)
	defer cancel()
	found, err := n.backing.resolveName(ctx, name)
	if err == nil || image.ClassOf(err) == image.Denied {
		return found, err
	}
	e := &image.Error{Class: image.ClassOf(err), Op: "resolve /ipns/" + name, Err: err}
	if e.Class == 0 { // an error of the DNS, for one
		e.Class, e.Hint = image.Unavailable, "check that a node that publishes the name is online, or name a --peer or a --gateway that knows it"
	}
	return found, e
}

// namesAllowed returns an error of the class Denied if the settings don't allow
// the name.
func namesAllowed(setting string, domain bool, op string) error {
	e := &image.Error{Class: image.Denied, Op: op}
	switch {
	case setting == NamesOff: // by the settings, or because the swarm is private
		e.Err, e.Hint = errors.New("names that move are off"), "name the content by its CID, or set names.moving to keys or all"
	case setting == NamesKeys && domain:
		e.Err, e.Hint = errors.New("DNSLink names, for which nothing but the DNS vouches, are off"), "name an IPNS key or a CID, or set names.moving to all"
	default:
		return nil
	}
	return e
}

// moving is the setting in force, never NamesAuto.
func (e *embedded) moving() string {
	switch {
	case e.options.Names != NamesAuto:
		return e.options.Names
	case e.private:
		return NamesOff
	case !e.options.public(false):
		return NamesKeys
	}
	return NamesAll
}

func (e *embedded) resolveName(ctx context.Context, name string) (image.Pointer, error) {
	ttl := maxNameTTL
	p, err := path.NewPathFromSegments(path.IPNSNamespace, name)
	for range maxNameDepth {
		if err != nil {
			return image.Pointer{}, err
		}
		if !p.Mutable() {
			return pointer(p, ttl)
		}
		var good time.Duration
		p, good, err = e.step(ctx, p)
		ttl = min(ttl, good)
	}
	return image.Pointer{}, &image.Error{Class: image.NotImage, Op: "follow the name", Err: fmt.Errorf("more than %d names lead one to the next", maxNameDepth)}
}

// step follows the first name of p.
func (e *embedded) step(ctx context.Context, p path.Path) (next path.Path, ttl time.Duration, err error) {
	segments := p.Segments()
	key, notKey := ipns.NameFromString(segments[1])
	if err := namesAllowed(e.moving(), notKey != nil, "resolve "+p.String()); err != nil {
		return nil, 0, err
	}
	if err := e.deniedPath(p); err != nil {
		return nil, 0, err
	}
	if notKey == nil {
		next, ttl, err = e.followKey(ctx, key)
	} else {
		next, ttl, err = e.followDomain(ctx, segments[1])
	}
	if err == nil {
		next, err = path.Join(next, segments[2:]...)
	}
	return next, ttl, err
}

func (e *embedded) followKey(ctx context.Context, name ipns.Name) (path.Path, time.Duration, error) {
	record, own, err := e.findRecord(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	to, err := record.Value()
	if err != nil || own {
		return to, 0, err
	}
	ttl, err := record.TTL()
	if err != nil {
		ttl = namesys.DefaultResolverCacheTTL
	}
	if end, err := record.Validity(); err == nil {
		ttl = min(ttl, time.Until(end))
	}
	return to, max(ttl, minNameTTL), nil
}

func (e *embedded) followDomain(ctx context.Context, domain string) (path.Path, time.Duration, error) {
	p, err := path.NewPathFromSegments(path.IPNSNamespace, domain)
	if err != nil {
		return nil, 0, err
	}
	lookup := namesys.NewDNSResolverWithTTL(e.node.DNSResolver.LookupTXTWithTTL)
	found, err := lookup.Resolve(ctx, p, namesys.ResolveWithDepth(1))
	switch {
	case errors.Is(err, namesys.ErrResolveRecursion): // to be gone on with by step
	case errors.Is(err, namesys.ErrMissingDNSLinkRecord):
		return nil, 0, &image.Error{Class: image.NotFound, Op: "look up " + domain, Err: err}
	case err != nil:
		return nil, 0, err
	}
	ttl := found.TTL
	if ttl <= 0 {
		ttl = dnsTTL
	}
	return found.Path, max(ttl, minNameTTL), nil
}

// pointer is where a path that does not move leads.
func pointer(p path.Path, ttl time.Duration) (image.Pointer, error) {
	fixed, err := path.NewImmutablePath(p)
	if err != nil || p.Namespace() != path.IPFSNamespace {
		return image.Pointer{}, &image.Error{Class: image.NotImage, Op: "follow the name", Err: fmt.Errorf("it leads to %s, which is no /ipfs/ path", p)}
	}
	found := image.Path{Root: cid.NewCidV1(fixed.RootCid().Type(), fixed.RootCid().Hash())}
	if rest := p.Segments()[2:]; len(rest) > 0 {
		found = found.Join(rest...)
	}
	return image.Pointer{Path: found, TTL: ttl}, nil
}
