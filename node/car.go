package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/boxo/verifcid"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-car/v2"
	carstorage "github.com/ipld/go-car/v2/storage"
	"golang.org/x/sync/errgroup"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

const (
	// carWidth is how many blocks are read at a time for a CAR, and carBatch
	// how many bytes of one are stored at a time.
	carWidth = 8
	carBatch = 8 << 20
	// What the header of a CAR may have.
	maxImportHeader = 1 << 20 // bytes
	maxImportRoots  = 4096
)

// Moved is how much went into or out of a CAR.
type Moved struct {
	Roots  []cid.Cid
	Blocks int64
	Bytes  int64
}

// Export writes the blocks of parts, each once, as a CAR of version 1 with the
// roots. What is not here is retrieved, and every block is compared with its CID.
func (n *Node) Export(ctx context.Context, w io.Writer, roots []cid.Cid, parts []pin.Part) (Moved, error) {
	out, err := carstorage.NewWritable(w, roots, car.WriteAsCarV1(true), car.AllowDuplicatePuts(true))
	if err != nil {
		return Moved{}, fmt.Errorf("begin a CAR: %w", err)
	}
	x := &exporter{node: n, out: out, root: roots[0], seen: map[mark]bool{}, moved: Moved{Roots: roots}}
	for _, p := range parts {
		if p.Mode == pin.Covered {
			continue
		}
		if err := x.dag(ctx, p.CID, p.Mode); err != nil {
			return x.moved, err
		}
	}
	return x.moved, nil
}

type exporter struct {
	node  *Node
	out   carstorage.WritableCar
	root  cid.Cid
	seen  map[mark]bool
	moved Moved
}

// dag writes a DAG depth first.
func (x *exporter) dag(ctx context.Context, root cid.Cid, mode pin.Mode) error {
	todo := []cid.Cid{root}
	for len(todo) > 0 {
		var batch []cid.Cid
		batch, todo = x.next(todo)
		nodes, err := x.load(ctx, batch)
		if err != nil {
			return err
		}
		for _, nd := range nodes {
			if err := x.write(ctx, nd); err != nil {
				return err
			}
			for i := len(nd.Links()) - 1; i >= 0 && mode != pin.Direct; i-- {
				todo = append(todo, nd.Links()[i].Cid)
			}
		}
	}
	return nil
}

// next takes from the end of todo the block that is next, or several leaves.
func (x *exporter) next(todo []cid.Cid) (batch, rest []cid.Cid) {
	for len(todo) > 0 && len(batch) < carWidth {
		c := todo[len(todo)-1]
		if c.Type() != cid.Raw && len(batch) > 0 {
			break
		}
		todo = todo[:len(todo)-1]
		if x.seen[markOf(c)] {
			continue
		}
		x.seen[markOf(c)] = true
		batch = append(batch, c)
		if c.Type() != cid.Raw {
			break
		}
	}
	return batch, todo
}

// load reads blocks side by side.
func (x *exporter) load(ctx context.Context, cids []cid.Cid) ([]ipld.Node, error) {
	nodes := make([]ipld.Node, len(cids))
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range cids {
		group.Go(func() (err error) {
			l := &loader{content: x.node.content, ctx: ctx, op: "export", path: image.Path{Root: x.root}}
			defer l.close()
			nodes[i], err = l.node(c)
			return err
		})
	}
	return nodes, group.Wait()
}

func (x *exporter) write(ctx context.Context, nd ipld.Node) error {
	if err := checkHash(nd); err != nil {
		return fmt.Errorf("export %s: %w", nd.Cid(), err)
	}
	if err := x.out.Put(ctx, nd.Cid().KeyString(), nd.RawData()); err != nil {
		return fmt.Errorf("write the CAR: %w", err)
	}
	x.moved.Blocks++
	x.moved.Bytes += int64(len(nd.RawData()))
	return nil
}

// Import stores the blocks of a CAR of version 1 or 2, each compared with its
// CID first. It holds some 10 MB of them at a time. When it fails, what was
// stored by then is garbage; who is to use it holds off garbage collection, see
// [Node.Hold], until it is pinned.
func (n *Node) Import(ctx context.Context, r io.Reader) (Moved, error) {
	in, err := openCAR(r)
	if err != nil {
		return Moved{}, err
	}
	moved := Moved{Roots: in.Roots}
	absent := map[cid.Cid]bool{}
	for _, c := range in.Roots {
		absent[c] = true
	}
	var batch []ipld.Node
	held := 0
	for {
		nd, err := nextOfCAR(in)
		if err != nil && err != io.EOF {
			return moved, err
		}
		if nd != nil {
			delete(absent, nd.Cid())
			batch, held = append(batch, nd), held+len(nd.RawData())
			moved.Blocks++
			moved.Bytes += int64(len(nd.RawData()))
		}
		if held > carBatch || err == io.EOF {
			if err := n.dag.AddMany(ctx, batch); err != nil {
				return moved, fmt.Errorf("import: store blocks: %w", err)
			}
			batch, held = nil, 0
		}
		if err == io.EOF {
			return moved, lacking(absent)
		}
		if ctx.Err() != nil {
			return moved, ctx.Err()
		}
	}
}

func lacking(roots map[cid.Cid]bool) error {
	for c := range roots {
		return &image.Error{Class: image.Corrupt, Op: "read the CAR", Err: fmt.Errorf("its root %s is not in it", c), Hint: "copy or export it again"}
	}
	return nil
}

// openCAR reads the header of a CAR.
func openCAR(r io.Reader) (*car.BlockReader, error) {
	in, err := car.NewBlockReader(bufio.NewReaderSize(r, 256<<10),
		car.MaxAllowedHeaderSize(maxImportHeader), car.MaxAllowedSectionSize(maxBlock+1<<10))
	if err == nil && (len(in.Roots) == 0 || len(in.Roots) > maxImportRoots) {
		err = fmt.Errorf("it has %d roots, and 1 to %d are meant to be there", len(in.Roots), maxImportRoots)
	}
	if err != nil {
		return nil, malformed("read the header of the CAR", err, "give a CAR file, as \"export\" and \"ipfs dag export\" write it")
	}
	return in, nil
}

// nextOfCAR returns the next block, or io.EOF. It is of a kind that images are
// made of, and has the hash that its CID says.
func nextOfCAR(in *car.BlockReader) (ipld.Node, error) {
	block, err := in.Next()
	if err == io.EOF {
		return nil, io.EOF
	}
	if err != nil {
		return nil, &image.Error{Class: image.Corrupt, Op: "read the CAR", Err: err, Hint: "copy or export it again"}
	}
	nd, err := nodeOfCAR(block)
	if err != nil {
		return nil, &image.Error{Class: image.Corrupt, Op: "read the block " + block.Cid().String() + " of the CAR", Err: err, Hint: "copy or export it again"}
	}
	return nd, nil
}

func nodeOfCAR(block blocks.Block) (ipld.Node, error) {
	c := block.Cid()
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c); err != nil {
		return nil, err
	}
	if c.Type() != cid.Raw && c.Type() != cid.DagProtobuf {
		return nil, fmt.Errorf("it is a %s, of which no image is made", codecName(c))
	}
	if len(block.RawData()) > maxBlock {
		return nil, errors.New("it is larger than 2 MiB, which no peer takes")
	}
	if err := compareBytes(c, block.RawData()); err != nil {
		return nil, err
	}
	return decode(block)
}
