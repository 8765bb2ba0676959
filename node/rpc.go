package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/kubo/commands"
	"github.com/ipfs/kubo/core"
	"github.com/ipfs/kubo/core/corehttp"
)

// apiCalls are the calls of Kubo's RPC, and of each the parameters, that
// nerdctl, ctr-remote and stargz-snapshotter make.
func apiCalls() map[string][]string {
	return map[string][]string{
		"/api/v0/add":        {"cid-version", "pin"},
		"/api/v0/cat":        {"arg", "offset", "length"},
		"/api/v0/files/stat": {"arg"},
	}
}

// ControlHandler is Kubo's whole RPC, and for [Dial] what that does not have. Whoever can reach
// it controls the node: it is for the socket of ListenControl and nothing else.
func (n *Node) ControlHandler() http.Handler {
	e, ok := n.backing.(*embedded)
	if !ok {
		return refuse(http.StatusNotFound, errNotEmbedded.Error())
	}
	mux := http.NewServeMux()
	mux.Handle("/", e.kuboRPC())
	mux.HandleFunc("POST "+publishPath, n.servePublish)
	mux.HandleFunc("POST "+resolveNamePath, n.serveResolveName)
	mux.HandleFunc("POST "+publishNamePath, n.servePublishName)
	mux.HandleFunc("POST "+holdPath, n.serveHold)
	return mux
}

// APIHandler is the part of Kubo's RPC that nerdctl, ctr-remote and
// stargz-snapshotter use: POST of /api/v0/add, /api/v0/cat and
// /api/v0/files/stat with the parameters they use. Anything else is refused,
// and so is everything that comes from a browser. What is added this way counts
// as published. admit refuses to hand out files, by their CIDs; nil refuses
// none.
func (n *Node) APIHandler(admit func(context.Context, cid.Cid) error) http.Handler {
	e, ok := n.backing.(*embedded)
	if !ok {
		return refuse(http.StatusNotFound, errNotEmbedded.Error())
	}
	kubo := e.kuboRPC()
	mux := http.NewServeMux()
	for call, params := range apiCalls() {
		handler := admitting(admit, kubo)
		if call == "/api/v0/add" {
			handler = e.publishAdded(kubo)
		}
		mux.Handle("POST "+call, allow(params, handler))
	}
	mux.Handle("/", refuse(http.StatusForbidden,
		"only POST /api/v0/add, /api/v0/cat and /api/v0/files/stat are answered here; for the whole Kubo RPC run a Kubo daemon and name it with --ipfs-address"))
	return mux
}

// kuboRPC is the handler of Kubo's daemon, with its checks of Origin, Referer
// and User-Agent.
func (e *embedded) kuboRPC() http.Handler {
	requests := &commands.ReqLog{}
	requests.SetKeepTime(time.Minute)
	cctx := commands.Context{
		ConfigRoot:    e.node.Repo.Path(),
		ReqLog:        requests,
		ConstructNode: func() (*core.IpfsNode, error) { return e.node, nil },
	}
	// Kubo fills this in at the first request, without a lock.
	_, err := cctx.GetAPI()
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	handler, err := corehttp.MakeHandler(e.node, noListener{}, corehttp.CheckVersionOption(), corehttp.CommandsOption(cctx))
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	return e.holding(handler)
}

// allow passes on requests with these parameters only, and those that no
// browser makes: it sends an Origin with every POST.
func allow(params []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			refuse(http.StatusForbidden, "not for browsers").ServeHTTP(w, r)
			return
		}
		for name, values := range r.URL.Query() {
			if err := checkParam(params, name, values); err != nil {
				refuse(http.StatusForbidden, err.Error()).ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// admitting refuses a question about a file that admit refuses. The argument is
// an /ipfs/<CID> path.
func admitting(admit func(context.Context, cid.Cid) error, next http.Handler) http.Handler {
	if admit == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, arg := range r.URL.Query()["arg"] {
			name, _, _ := strings.Cut(strings.TrimPrefix(arg, "/ipfs/"), "/")
			c, err := cid.Decode(name)
			if err == nil {
				err = admit(r.Context(), cid.NewCidV1(c.Type(), c.Hash()))
			}
			if err != nil {
				refuse(http.StatusForbidden, err.Error()).ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func checkParam(params []string, name string, values []string) error {
	known := false
	for _, p := range params {
		known = known || p == name
	}
	if !known {
		return fmt.Errorf("the parameter %q is not answered here", name)
	}
	for _, v := range values {
		// Without it, the argument is a path of the node's own file system.
		if name == "arg" && !strings.HasPrefix(v, "/ipfs/") {
			return fmt.Errorf("the argument %q is no /ipfs/<CID> path", v)
		}
	}
	return nil
}

func refuse(status int, message string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, message, status) })
}

// noListener stands for the listener that Kubo allows browser origins by. It
// has no TCP port, so that none matches.
type noListener struct{ net.Listener }

func (noListener) Addr() net.Addr { return &net.UnixAddr{Name: controlSocket, Net: "unix"} }
