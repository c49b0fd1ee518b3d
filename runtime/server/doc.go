// Package server is the HTTP service: it takes requests for edits, lines them up before the
// one device, and answers with pictures or says why there is none.
//
// It knows nothing of the model. What edits is an Editor, which is handed over when it is
// loaded:
//
//	s, err := server.New(config, server.Options{Log: log, Model: modelConfig, Device: device})
//	go func() {
//		s.Progress(server.StageVerifying, done, total)
//		...
//		err := s.Ready(editor) // or s.Failed(err)
//	}()
//	err = s.ListenAndServe(ctx) // until ctx ends, and then the grace period
//
// The service listens at once, so that probes and people get an answer while gigabytes are
// read: /healthz says that the process lives, /readyz and /health how far it is. Edits are
// refused with 503 until it can edit. Nothing ever stands in for the model.
//
// # Contract
//
// Routes, fields, defaults and error codes are those of the Python service that this one
// takes over from, and its clients go on working. openapi.json is the whole contract. What is
// there beyond the predecessor's:
//
//   - model names the checkpoint that serves a request; steps and guidance that a request
//     leaves out are the checkpoint's own. What is served but spoils a picture, or was asked
//     for in vain (rank 64), is said in warnings, in the answer and in the log.
//   - Failures carry status codes. The predecessor answered 200 with success:false; so does
//     this one with PLIMSOLL_COMPAT=1.
//   - The seed is returned, also one that the service drew.
//   - X-Request-ID is taken over from the request, or made, and stands in answer and log.
//
// # Flow of an edit
//
//	place in the queue (429 when full) → body → fields → picture → turn → Editor.Edit → JPEG
//
// A place is taken before the body is read, so the number of requests in memory is bounded.
// Turns are given in the order in which requests are complete. A client that goes away gives
// up its place at any point, and the context of a running edit ends.
//
// # Stopping
//
// When the context of Serve ends, /readyz fails, new and waiting requests get 503, and the
// running edit has the grace period to end before its context does.
package server
