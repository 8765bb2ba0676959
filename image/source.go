package image

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/ipfs/go-cid"
)

// Path names content on IPFS: a root CID and the slash-separated names to
// follow below it. The zero Rest is the root itself. Paths are comparable.
type Path struct {
	Root cid.Cid
	Rest string
}

// Join returns the path of names below p.
func (p Path) Join(names ...string) Path {
	rest := strings.Join(names, "/")
	if p.Rest != "" {
		rest = p.Rest + "/" + rest
	}
	return Path{Root: p.Root, Rest: rest}
}

// String returns the path in its /ipfs/<CID>[/<rest>] form.
func (p Path) String() string {
	if p.Rest == "" {
		return "/ipfs/" + p.Root.String()
	}
	return "/ipfs/" + p.Root.String() + "/" + p.Rest
}

// Source opens content on IPFS. Whatever it hands out has been checked,
// block by block, against the CID of the path.
//
// Open's errors are of the classes of [Error]: NotFound when a name of the path
// is not in its directory, Unavailable when no provider delivered the blocks in
// time, and [*NotFileError] when the path leads to something other than a file.
// Open returns only when the first byte can be read, or that of a [First] in
// ctx, which may also say by [Of] to which image the path belongs.
//
// ctx bounds the opening and every later Read; the caller closes the File.
type Source interface {
	Open(ctx context.Context, p Path) (File, error)
}

// File is content opened by a Source. Reads after ctx of Open has ended fail,
// and a read for which nothing arrives within the source's limit fails with an
// Unavailable error: nothing waits without a bound.
//
// A File is used by one goroutine at a time.
//
// A File may have more powers, found by assertion: [LimitedWriterTo],
// [Expecter] and [Checker].
type File interface {
	io.ReadSeekCloser
	// Size is the length of the content in bytes.
	Size() int64
	// CID is the CID of the file itself, the last step of its path.
	CID() cid.Cid
}

// Expecter is the power of a File that fetches ahead. Expect says that the next
// n bytes will surely be read, so that all of them may be fetched at once; it
// does not wait.
type Expecter interface {
	Expect(n int64)
}

// Checker is the power of a File that lies on a disk, where it can rot. Check
// makes sure that of the next n bytes those are right that are at hand, the
// first of them by reading them and the others as far as damage is known
// already: what is damaged is retrieved again, or the error is Corrupt. What has
// been checked before costs next to nothing; what is not at hand is not waited
// for. How much is looked at in all has a bound, which only what is in very many
// pieces reaches.
type Checker interface {
	Check(first, n int64) error
}

// LimitedWriterTo is the power of a File that moves its bytes to a writer by a
// cheaper way than Read, such as sendfile. WriteNTo writes the n bytes from the
// current offset on, fewer only with an error, and moves the offset by as many.
type LimitedWriterTo interface {
	WriteNTo(w io.Writer, n int64) (int64, error)
}

// NotFileError says that a path leads to something that is no file.
type NotFileError struct {
	Path Path
	// Kind is what was found: "directory", "symlink", "dag-cbor node", ….
	Kind string
	// Entries are the first names of a directory, at most ten.
	Entries []string
}

func (e *NotFileError) Error() string {
	if len(e.Entries) == 0 {
		return fmt.Sprintf("%s is a %s, not a file", e.Path, e.Kind)
	}
	return fmt.Sprintf("%s is a %s with the entries %s, not a file", e.Path, e.Kind, strings.Join(e.Entries, ", "))
}
