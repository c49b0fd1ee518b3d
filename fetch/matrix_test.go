package fetch

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/fetch/hub"
	"github.com/plimsoll-oci/plimsoll/fetch/hubtest"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// faultMatrix lists what goes wrong between a disk and a Hub, and the tests in which it
// does: file, test, and where the test is a table the case.
var faultMatrix = map[string][]string{
	"truncated body":                   {"fault_test.go TestFaults truncated", "fault_test.go TestFaults cut at 0", "hub/broken_test.go TestBrokenBodies"},
	"every connection truncated":       {"fault_test.go TestFaults every connection cut"},
	"reset":                            {"fault_test.go TestFaults reset"},
	"no byte for a while":              {"fault_test.go TestFaults silence", "hub/broken_test.go TestServerThatNeverAnswers"},
	"5xx bursts":                       {"fault_test.go TestFaults burst of 503", "fault_test.go TestFaults burst of 500 at hub", "hub/list_test.go TestListRetries"},
	"5xx without end":                  {"fault_test.go TestTriesEnd", "hub/list_test.go TestListGivesUp"},
	"some connections refused":         {"fault_test.go TestSomeRefused"},
	"429 with RateLimit":               {"fault_test.go TestFaults 429 RateLimit", "hub/list_test.go TestListWaitsForTheRateLimit", "hub/open_test.go TestOpenSaysHowLongARateLimitLasts"},
	"429 with Retry-After":             {"fault_test.go TestFaults 429 Retry-After", "fault_test.go TestLongRetryAfter"},
	"200 to a Range":                   {"fault_test.go TestFaults range ignored", "fault_test.go TestFaults range ignored at times, and cut", "fault_test.go TestNoSecondWriter"},
	"416":                              {"matrix_test.go TestPermanentAnswers 416", "hub/open_test.go TestRangeBehindTheEnd"},
	"ETag of storage is another hash":  {"fault_test.go TestFaults another etag"},
	"ETag changes in the middle":       {"matrix_test.go TestChangesInTheMiddle"},
	"redirect loop":                    {"matrix_test.go TestPermanentAnswers redirect loop", "hub/broken_test.go TestRedirectsThatLeadNowhere to itself"},
	"rename, 307":                      {"matrix_test.go TestRenamed", "hub/list_test.go TestListFollowsARename"},
	"signed URL expires in the middle": {"fault_test.go TestExpired", "hub/open_test.go TestSignedURLIsResolvedAgainWhenItExpires"},
	"signed URL refused for good":      {"hub/open_test.go TestFreshURLThatIsRefusedIsAnError"},
	"gated":                            {"matrix_test.go TestRefusedRepositories gated", "fault_test.go TestPermanent gated", "hub/list_test.go TestListRefusals"},
	"private":                          {"matrix_test.go TestRefusedRepositories private"},
	"missing":                          {"matrix_test.go TestRefusedRepositories missing", "fault_test.go TestPermanent missing"},
	"listing over several pages":       {"hub/list_test.go TestListTurnsToTheTree", "hub/list_test.go TestPagesThatDoNotEnd", "hub/list_test.go TestPagesOfAnotherHostAreAskedHere"},
	"full disk":                        {"disk_linux_test.go TestFullDisk known before", "disk_linux_test.go TestFullDisk when reserving", "disk_linux_test.go TestFullDisk in the middle"},
	"read-only cache":                  {"disk_linux_test.go TestReadOnly", "cache/cache_test.go TestUnwritable"},
	"wrong bytes of right size":        {"fault_test.go TestWrongBytes", "fault_test.go TestFaults bytes changed once", "files_test.go TestForeign wrong bytes"},
	"another size":                     {"fault_test.go TestPermanent another size", "fault_test.go TestTooLong", "fault_test.go TestAnotherFile"},
	"Artifactory":                      {"fault_test.go TestFaults artifactory", "hub/open_test.go TestArtifactory", "../image/flow/endpoints_test.go TestProxies artifactory"},
	"mirror that redirects back, 308":  {"hub/open_test.go TestMirrorThatRedirectsBack", "../image/flow/endpoints_test.go TestProxies mirror that redirects back"},
	"source fails, next one goes on":   {"fault_test.go TestSources missing", "fault_test.go TestSources breaks and closes", "fault_test.go TestSources wrong bytes", "../image/flow/endpoints_test.go TestEndpointsInOrder"},
	"all sources fail":                 {"fault_test.go TestAllSourcesFail"},
	"nobody listens":                   {"hub/broken_test.go TestNobodyListens", "hub/broken_test.go TestHostThatDoesNotExist", "hub/broken_test.go TestDeadCDNHostIsResolvedAgain"},
	"killed":                           {"child_test.go TestKill", "resume_test.go TestResume"},
	"two at once":                      {"child_test.go TestTwoProcesses", "files_test.go TestTwoAtOnce"},
	"canceled":                         {"fault_test.go TestCanceled"},
}

// TestFaultMatrix: every test that the matrix names is there.
func TestFaultMatrix(t *testing.T) {
	texts := map[string]string{}
	for what, tests := range faultMatrix {
		require.NotEmpty(t, tests, what)
		for _, line := range tests {
			file, rest, _ := strings.Cut(line, " ")
			name, sub, isCase := strings.Cut(rest, " ")
			if texts[file] == "" {
				data, err := os.ReadFile(filepath.FromSlash(file))
				require.NoError(t, err, what)
				texts[file] = string(data)
			}
			body := regexp.MustCompile(`(?s)\nfunc ` + name + `\(t \*testing\.T\) \{.*?\n\}`).FindString(texts[file])
			require.NotEmpty(t, body, "%s: no test %s in %s", what, name, file)
			require.True(t, !isCase || strings.Contains(body, `"`+sub+`"`), "%s: %s of %s has no case %q", what, name, file, sub)
		}
	}
}

// TestPermanentAnswers: answers that no waiting heals are not asked for again.
func TestPermanentAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		kind   hubtest.Kind
		effect hubtest.Effect
		text   string
	}{
		"416":           {hubtest.CDN, hubtest.Status(416, "Content-Range", "bytes */100"), "416"},
		"redirect loop": {hubtest.Resolve, hubtest.Redirect(307, func(r *http.Request) string { return r.URL.RequestURI() }), "do not end"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
			s.Inject(hubtest.Fault{Kind: c.kind, Effect: c.effect})
			opts := s.options(t)
			opts.Jobs = 1
			_, err := Files(t.Context(), []File{s.file(t, "m.bin")}, opts)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, fault.Upstream, fault.KindOf(err))
			require.Equal(t, []int{1}, s.Hits())
		})
	}
}

// TestChangesInTheMiddle: a source whose file becomes another one between two connections
// is left; what came before is kept, and any source that has the file goes on with it.
func TestChangesInTheMiddle(t *testing.T) {
	files := map[string]hubtest.File{"m.bin": large(7, modelSize)}
	s, second := newSite(t, files), newSite(t, files)
	s.Inject(
		hubtest.Fault{Kind: hubtest.CDN, Times: 1, Effect: hubtest.Effects(expiring(s), hubtest.Cut(50_000))},
		hubtest.Fault{Kind: hubtest.Resolve, Skip: 1, Effect: hubtest.SetHeader("X-Linked-Etag", `"`+strings.Repeat("f", 64)+`"`)},
	)
	opts := s.options(t)
	opts.Jobs = 1
	f := s.file(t, "m.bin")
	_, err := Files(t.Context(), []File{f}, opts)
	require.ErrorContains(t, err, "its sha256 is ffff")
	require.ErrorContains(t, err, "lock says "+f.SHA256)
	require.Equal(t, fault.Upstream, fault.KindOf(err))
	require.NotEmpty(t, fault.HintOf(err))
	require.Equal(t, []int{1, 1}, s.Hits())

	need, err := Plan(t.Context(), []File{f}, opts)
	require.NoError(t, err)
	require.EqualValues(t, 50_000, need.Partial)
	opts.Sources = append(opts.Sources, second.client(t))
	got := requireFetched(t, second, opts)
	require.EqualValues(t, modelSize-50_000, got.Downloaded)
	require.EqualValues(t, modelSize-50_000, second.Sent("m.bin"))
}

// expiring voids all signatures once a request was admitted.
func expiring(s *site) hubtest.Effect {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&onHeader{w, s.ExpireSignatures}, r)
		})
	}
}

// onHeader calls a function when the answer begins.
type onHeader struct {
	http.ResponseWriter
	call func()
}

func (o *onHeader) WriteHeader(status int) {
	o.call()
	o.ResponseWriter.WriteHeader(status)
}

func (o *onHeader) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// TestRenamed: a repository answers under the name that the lock knows, though it has
// another one now.
func TestRenamed(t *testing.T) {
	h := hubtest.New()
	s := &site{Hub: h, files: map[string]hubtest.File{"m.bin": large(7, modelSize), "c.json": {Content: hubtest.Bytes([]byte("{}"))}}}
	var err error
	s.commit, err = h.Add(hubtest.Repo{Name: "new/name", RenamedFrom: []string{repoName}, Files: s.files})
	require.NoError(t, err)
	_, err = h.Start()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	opts := s.options(t)
	results, err := Files(t.Context(), []File{s.file(t, "m.bin"), s.file(t, "c.json")}, opts)
	require.NoError(t, err)
	for _, r := range results {
		linked, err := opts.Cache.Lookup(repoName, s.commit, r.File.Path)
		require.NoError(t, err)
		require.Equal(t, r.Blob, linked)
	}
}

// TestRefusedRepositories: what a visitor may not see is one request and a clear error; a
// token that is let in gets it.
func TestRefusedRepositories(t *testing.T) {
	for name, c := range map[string]struct {
		repo hubtest.Repo
		code string
	}{
		"gated":   {hubtest.Repo{Name: repoName, Gated: true}, hub.CodeGatedRepo},
		"private": {hubtest.Repo{Name: repoName, Private: true}, "401"},
		"missing": {hubtest.Repo{Name: "some/other"}, "401"},
	} {
		t.Run(name, func(t *testing.T) {
			h := hubtest.New(hubtest.Token("hf_secret"))
			c.repo.Files = map[string]hubtest.File{"m.bin": large(7, 1000)}
			commit, err := h.Add(c.repo)
			require.NoError(t, err)
			_, err = h.Start()
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, h.Close()) })
			s := &site{h, commit, c.repo.Files}
			opts := s.options(t)
			_, err = Files(t.Context(), []File{s.file(t, "m.bin")}, opts)
			require.ErrorContains(t, err, c.code)
			require.Equal(t, fault.Upstream, fault.KindOf(err))
			require.Contains(t, fault.HintOf(err), "HF_TOKEN")
			require.Len(t, h.Requests(), 1)

			letIn, err := hub.New(hub.Config{Endpoint: h.URL(), Token: "hf_secret"})
			require.NoError(t, err)
			defer letIn.Close()
			opts.Sources = []Source{letIn}
			_, err = Files(t.Context(), []File{s.file(t, "m.bin")}, opts)
			require.Equal(t, c.repo.Name == repoName, err == nil, "%v", err)
			require.NotContains(t, errorText(err), "hf_secret")
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestOvertaken: a partial of ours whose blob came into the cache by another tool is of no
// use any more, and goes.
func TestOvertaken(t *testing.T) {
	s := newSite(t, map[string]hubtest.File{"m.bin": large(7, modelSize)})
	s.Inject(hubtest.Fault{Kind: hubtest.CDN, Times: 1, Effect: hubtest.Cut(50_000)}, hubtest.Fault{Kind: hubtest.CDN, Effect: hubtest.Status(404)})
	opts := s.options(t)
	opts.Jobs = 1
	f := s.file(t, "m.bin")
	_, err := Files(t.Context(), []File{f}, opts)
	require.Error(t, err)
	list, err := opts.Cache.Partials()
	require.NoError(t, err)
	require.Len(t, list, 1)
	blob, err := opts.Cache.Blob(repoName, f.SHA256)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(blob, content(t, s.files["m.bin"].Content), 0o644))
	require.True(t, requireFetched(t, s, opts).Cached)
}
