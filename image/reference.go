package image

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multihash"
	"github.com/opencontainers/go-digest"
)

// maxName is the longest repository name, host included, that clients accept.
// OCI distribution spec, "Pulling manifests".
const maxName = 255

// The grammars of the OCI distribution spec, "Pulling manifests".
var (
	nameGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// Reference is what a person writes to mean an image on IPFS.
type Reference struct {
	Path Path
	// Moving is set in place of Path where a name was written that can lead
	// elsewhere tomorrow.
	Moving Moving
	// Gateway is the URL of the gateway before which the reference was
	// written, empty where there was none.
	Gateway string
	// Tag is empty when none was written.
	Tag string
	// Digest is empty when none was written; it outranks the tag.
	Digest digest.Digest
}

// Ref is the tag or digest to ask the image for: the digest where there is one,
// else the tag, else "latest".
func (r Reference) Ref() string {
	switch {
	case r.Digest != "":
		return r.Digest.String()
	case r.Tag != "":
		return r.Tag
	default:
		return "latest"
	}
}

// ParseReference reads ipfs://<CID>[/<path>][:<tag>][@<digest>], the same behind
// localhost:<port>/ipfs/ or /ipfs/, localhost:<port>/layer/<CID>[:<filename>],
// https://<gateway>/ipfs/<CID>…, or a bare CID. The CID may have any version and
// base, and may be one as IPDR prints it. With ipns for ipfs the name is an IPNS
// key or the domain of a DNSLink. The error is Malformed.
func ParseReference(s string) (Reference, error) {
	ref, err := parseReference(s)
	if err != nil {
		return Reference{}, &Error{Class: Malformed, Op: fmt.Sprintf("read the reference %q", hideUser(s)), Err: err,
			Hint: "write ipfs://<CID>[/<path>][:<tag>][@<digest>], localhost:5050/ipfs/<CID>…, localhost:5050/layer/<CID>[:<filename>], https://<gateway>/ipfs/<CID>…, ipns://<name>…, /ipfs/<CID> or a bare CID"}
	}
	return ref, nil
}

func parseReference(s string) (ref Reference, err error) {
	if ref.Gateway, s, err = cutGateway(s); err != nil {
		return ref, err
	}
	rest, moving, err := stripScheme(s)
	if err != nil {
		return ref, err
	}
	rest, dgst, hasDigest := strings.Cut(rest, "@")
	if hasDigest {
		if ref.Digest, err = ParseDigest(dgst); err != nil {
			return ref, err
		}
	}
	rest, tag, hasTag := cutTag(rest)
	if hasTag && !tagGrammar.MatchString(tag) {
		return ref, fmt.Errorf("%q is no tag", tag)
	}
	ref.Tag = tag
	root, below := cutFirst(strings.TrimSuffix(rest, "/"))
	if moving {
		ref.Moving, err = parseMoving(root, below)
		return ref, err
	}
	c, ok := ipdrCID(root)
	if !ok {
		if c, err = cid.Decode(root); err != nil {
			return ref, fmt.Errorf("%q is no CID: %w", root, err)
		}
	}
	ref.Path = Path{Root: cid.NewCidV1(c.Type(), c.Hash()), Rest: below}
	return ref, checkRest(below)
}

// cutGateway takes the URL of a gateway off and leaves /ipfs/… or /ipns/….
// Without a certificate only this machine is believed to be a gateway.
func cutGateway(s string) (gateway, rest string, err error) {
	scheme, after, ok := strings.Cut(s, "://")
	if !ok || scheme != "https" && scheme != "http" {
		return "", s, nil
	}
	host, path, _ := strings.Cut(after, "/")
	gateway, rest = scheme+"://"+host, "/"+path
	u, err := url.Parse(gateway)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Host != host:
		return "", "", fmt.Errorf("%q is no URL of a gateway", shorten(hideUser(gateway)))
	case scheme == "http" && !isLoopback(host):
		return "", "", errors.New("a gateway is asked over https only, except on this machine")
	case !strings.HasPrefix(rest, "/ipfs/") && !strings.HasPrefix(rest, "/ipns/"):
		return "", "", errors.New("a URL is read only as https://<gateway>/ipfs/<CID>…")
	case strings.ContainsAny(rest, "?#%"):
		return "", "", errors.New("a URL of a gateway has no query, fragment or escapes here")
	}
	return gateway, rest, nil
}

// hideUser keeps the password of a URL out of messages.
func hideUser(s string) string {
	scheme, after, ok := strings.Cut(s, "://")
	host, path, _ := strings.Cut(after, "/")
	if i := strings.LastIndexByte(host, '@'); ok && i >= 0 && strings.HasPrefix(scheme, "http") {
		return scheme + "://…" + host[i:] + "/" + path
	}
	return s
}

// cutFirst cuts a path after its first name.
func cutFirst(s string) (first, rest string) {
	first, rest, _ = strings.Cut(s, "/")
	return first, rest
}

// ipdrCID reads the name that IPDR gives a CID: the multihash of a CIDv0 in
// base32, without the letter that would say so, and so always "ciq…".
func ipdrCID(s string) (cid.Cid, bool) {
	if len(s) != 55 || !strings.HasPrefix(s, "ciq") {
		return cid.Undef, false
	}
	_, data, err := multibase.Decode("b" + s)
	if err != nil {
		return cid.Undef, false
	}
	mh, err := multihash.Cast(data)
	if err != nil {
		return cid.Undef, false
	}
	return cid.NewCidV1(cid.DagProtobuf, mh), true
}

// stripScheme returns what follows the part that says "on IPFS", and whether
// that part says that what follows is a name that moves.
func stripScheme(s string) (rest string, moving bool, err error) {
	if rest, ok := strings.CutPrefix(s, "ipfs://"); ok {
		return rest, false, nil
	}
	if rest, ok := strings.CutPrefix(s, "ipns://"); ok {
		return rest, true, nil
	}
	name := s
	if host, rest, ok := strings.Cut(s, "/"); ok && (host == "" || isLoopback(host)) {
		name = rest
	}
	for _, prefix := range []string{ipfsPrefix, layerPrefix, ipnsPrefix} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && name != s {
			return rest, prefix == ipnsPrefix, nil
		}
	}
	if name != s && isIPDR(name) {
		return name, false, nil
	}
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		return "", false, fmt.Errorf("the scheme %q is not read", u.Scheme)
	}
	return s, false, nil
}

// isIPDR reports whether s begins with a CID of IPDR's, as its first name.
func isIPDR(s string) bool {
	if i := strings.IndexAny(s, "/:@"); i >= 0 {
		s = s[:i]
	}
	_, ok := ipdrCID(s)
	return ok
}

// isLoopback reports whether host[:port] is this machine, where our registry is.
func isLoopback(host string) bool {
	switch u := (&url.URL{Host: host}); u.Hostname() {
	case "localhost", "127.0.0.1", "::1":
		return true
	}
	return false
}

// cutTag splits at the colon in the last segment.
func cutTag(s string) (name, tag string, found bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.Contains(s[i:], "/") {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func checkRest(rest string) error {
	if rest == "" {
		return nil
	}
	if !utf8.ValidString(rest) { // no record of it could be read again
		return fmt.Errorf("%q is no path in UTF-8", rest)
	}
	for name := range strings.SplitSeq(rest, "/") {
		if name == "" || name == "." || name == ".." || strings.ContainsRune(name, 0) {
			return fmt.Errorf("%q is no path", rest)
		}
	}
	return nil
}

// The first names of the repositories of the distribution API.
const (
	ipfsPrefix  = "ipfs/"
	layerPrefix = "layer/"
)

// ParseName reads the repository name ipfs/<CID>[/<path>] of the distribution
// API, layer/<CID> as ocipfs has it, or a CID as IPDR prints it. Any other CID
// has to be a lower-case CIDv1, as the grammar of names wants; for one that is
// not, the error, which is Malformed, tells the one to use.
func ParseName(name string) (Path, error) {
	p, hint, err := parseName(name)
	if err != nil {
		return Path{}, &Error{Class: Malformed, Op: fmt.Sprintf("read the repository name %q", shorten(name)), Err: err, Hint: hint}
	}
	return p, nil
}

func parseName(name string) (p Path, hint string, err error) {
	const want = "name an image by ipfs/<CID>, the CID in lower case"
	if len(name) > maxName {
		return p, want, fmt.Errorf("it is longer than %d bytes", maxName)
	}
	rest, ok := strings.CutPrefix(name, ipfsPrefix)
	if !ok {
		rest, ok = strings.CutPrefix(name, layerPrefix)
	}
	if !ok && !isIPDR(name) {
		return p, want, errors.New("it does not begin with ipfs/")
	}
	root, below := cutFirst(rest)
	if c, ok := ipdrCID(root); ok && nameGrammar.MatchString(name) {
		return Path{Root: c, Rest: below}, "", nil
	}
	c, err := cid.Decode(root)
	if err != nil {
		return p, want, fmt.Errorf("%q is no CID: %w", root, err)
	}
	if !nameGrammar.MatchString(root) || c.Version() == 0 {
		lower, err := cid.NewCidV1(c.Type(), c.Hash()).StringOfBase(multibase.Base32)
		if err != nil {
			return p, want, err
		}
		return p, "use " + strings.TrimSuffix(name, rest) + lower, fmt.Errorf("the CID %s is not in the lower-case CIDv1 form that image names allow", root)
	}
	if !nameGrammar.MatchString(name) {
		return p, want, errors.New("it is not of the grammar of repository names")
	}
	return Path{Root: c, Rest: below}, "", nil
}

// ParseDigest reads an OCI digest of an algorithm that can be verified here:
// sha256, sha384 or sha512. The error is Malformed.
func ParseDigest(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err != nil {
		return "", &Error{Class: Malformed, Op: fmt.Sprintf("read the digest %q", shorten(s)), Err: err,
			Hint: "write <algorithm>:<hex>, such as sha256: and 64 lower-case hex digits"}
	}
	return d, nil
}

// IsTag reports whether s is a tag by the grammar of the distribution spec.
func IsTag(s string) bool { return tagGrammar.MatchString(s) }

// IsName reports whether s is a repository name by the grammar of the
// distribution spec.
func IsName(s string) bool { return len(s) <= maxName && nameGrammar.MatchString(s) }

// IsRepository reports whether s is a repository name by the grammar of the
// distribution spec, short enough to follow ipfs/<CID>/ in another.
func IsRepository(s string) bool { return len(s) <= maxName/2 && nameGrammar.MatchString(s) }

// shorten keeps a hostile string from filling a message.
func shorten(s string) string {
	if len(s) <= 300 {
		return s
	}
	return s[:300] + "…"
}
