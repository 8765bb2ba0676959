package image

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multihash"
)

// ipnsPrefix is the first name of the repositories whose content may change.
const ipnsPrefix = "ipns/"

// domainGrammar is that of the domains of DNSLink names, with which no number
// of an address can be confused.
var domainGrammar = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Moving is a name that can lead to one thing today and to another tomorrow,
// and the slash-separated names to follow below it. The zero Moving is none.
// Those of [ParseReference] and [ParseMoving] are in the one spelling that each
// name has, and comparable.
type Moving struct {
	// Name is an IPNS key, as a CIDv1 in base36, or the domain of a DNSLink.
	Name string
	Rest string
}

// String returns the name in its /ipns/<name>[/<rest>] form.
func (m Moving) String() string {
	if m.Rest == "" {
		return "/ipns/" + m.Name
	}
	return "/ipns/" + m.Name + "/" + m.Rest
}

// IsDomain tells a DNSLink name, which nothing but the DNS vouches for, from a
// key, whose owner signs what it leads to.
func (m Moving) IsDomain() bool { return strings.Contains(m.Name, ".") }

// ParseMoving reads the repository name ipns/<name>[/<path>] of the
// distribution API. ok is false for a name that does not begin so, which
// [ParseName] is for. The error is Malformed.
func ParseMoving(name string) (m Moving, ok bool, err error) {
	rest, ok := strings.CutPrefix(name, ipnsPrefix)
	if !ok {
		return m, false, nil
	}
	first, below := cutFirst(rest)
	m, err = parseMoving(first, below)
	hint := "name an IPNS key in base36 (k51…) or the domain of a DNSLink"
	switch {
	case err != nil:
	case len(name) > maxName:
		err = fmt.Errorf("it is longer than %d bytes", maxName)
	case first != m.Name:
		err, hint = errors.New("it is not in the lower-case form that image names allow"), "use "+ipnsPrefix+m.Name
	case !nameGrammar.MatchString(name):
		err = errors.New("it is not of the grammar of repository names")
	}
	if err != nil {
		return Moving{}, true, &Error{Class: Malformed, Op: fmt.Sprintf("read the repository name %q", shorten(name)), Err: err, Hint: hint}
	}
	return m, true, nil
}

// parseMoving reads a name and what is below it, in any of their spellings.
func parseMoving(name, below string) (Moving, error) {
	if key, ok := ipnsKey(name); ok {
		return Moving{Name: key, Rest: below}, checkRest(below)
	}
	domain := strings.ToLower(name)
	if len(domain) > 253 || !domainGrammar.MatchString(domain) {
		return Moving{}, fmt.Errorf("%q is neither an IPNS key nor a domain", shorten(name))
	}
	return Moving{Name: domain, Rest: below}, checkRest(below)
}

// ipnsKey reads the name of a key: a CID of a key of libp2p's, or the bare
// multihash in base58 that a peer ID is.
func ipnsKey(s string) (string, bool) {
	mh, err := multihash.FromB58String(s)
	if c, cidErr := cid.Decode(s); cidErr == nil && c.Version() == 1 {
		if c.Type() != cid.Libp2pKey {
			return "", false
		}
		mh, err = c.Hash(), nil
	}
	if err != nil {
		return "", false
	}
	key, err := cid.NewCidV1(cid.Libp2pKey, mh).StringOfBase(multibase.Base36)
	return key, err == nil
}
