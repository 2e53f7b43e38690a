// A gRPC server, and a client that runs cases of gRPC's own interoperability suite, by the
// reference implementation. The whole-program tests put Narthex between the two.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

func main() {
	if len(os.Args) < 2 {
		fail("server or client?")
	}
	switch os.Args[1] {
	case "server":
		server(os.Args[2:])
	case "client":
		client(os.Args[2:])
	default:
		fail("server or client?")
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}

// server prints its address and serves until it is killed.
func server(arguments []string) {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	certificate := flags.String("certificate", "", "PEM; with it, TLS is spoken")
	key := flags.String("key", "", "PEM")
	_ = flags.Parse(arguments)
	var options []grpc.ServerOption
	if *certificate != "" {
		secure, err := credentials.NewServerTLSFromFile(*certificate, *key)
		if err != nil {
			fail("certificate: %v", err)
		}
		options = append(options, grpc.Creds(secure))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail("listen: %v", err)
	}
	fmt.Println(listener.Addr())
	serve := grpc.NewServer(options...)
	pb.RegisterTestServiceServer(serve, interop.NewTestServer())
	fail("serve: %v", serve.Serve(listener))
}

// client runs the cases that it is given, one after the other, on one connection.
func client(arguments []string) {
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	address := flags.String("address", "", "where to connect")
	authority := flags.String("authority", "", "the host to ask for")
	secure := flags.Bool("tls", false, "speak TLS and take any certificate")
	_ = flags.Parse(arguments)
	transport := insecure.NewCredentials()
	if *secure {
		transport = credentials.NewTLS(&tls.Config{ServerName: *authority, InsecureSkipVerify: true})
	}
	connection, err := grpc.NewClient(
		"passthrough:///"+*address,
		grpc.WithTransportCredentials(transport),
		grpc.WithAuthority(*authority),
	)
	if err != nil {
		fail("connect: %v", err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, name := range flags.Args() {
		run(ctx, connection, name)
		fmt.Println("ok", name)
	}
}

// run ends the process if a case fails: the suite does so itself.
func run(ctx context.Context, connection *grpc.ClientConn, name string) {
	test := pb.NewTestServiceClient(connection)
	switch name {
	case "empty_unary":
		interop.DoEmptyUnaryCall(ctx, test)
	case "large_unary":
		interop.DoLargeUnaryCall(ctx, test)
	case "client_streaming":
		interop.DoClientStreaming(ctx, test)
	case "server_streaming":
		interop.DoServerStreaming(ctx, test)
	case "ping_pong":
		interop.DoPingPong(ctx, test)
	case "empty_stream":
		interop.DoEmptyStream(ctx, test)
	case "timeout_on_sleeping_server":
		interop.DoTimeoutOnSleepingServer(ctx, test)
	case "cancel_after_begin":
		interop.DoCancelAfterBegin(ctx, test)
	case "cancel_after_first_response":
		interop.DoCancelAfterFirstResponse(ctx, test)
	case "status_code_and_message":
		interop.DoStatusCodeAndMessage(ctx, test)
	case "special_status_message":
		interop.DoSpecialStatusMessage(ctx, test)
	case "custom_metadata":
		interop.DoCustomMetadata(ctx, test)
	case "unimplemented_method":
		interop.DoUnimplementedMethod(ctx, connection)
	case "unimplemented_service":
		interop.DoUnimplementedService(ctx, pb.NewUnimplementedServiceClient(connection))
	case "status":
		// What an empty call comes to, for tests of answers that are not the server's.
		_, err := test.EmptyCall(ctx, &pb.Empty{})
		fmt.Printf("%s: %s\n", status.Code(err), status.Convert(err).Message())
	case "idle":
		idle(ctx, test)
	default:
		fail("%s is no case", name)
	}
}

// idle has a stream on which one side is silent for long while the other is not, and both are for
// a while.
func idle(ctx context.Context, test pb.TestServiceClient) {
	stream, err := test.FullDuplexCall(ctx)
	if err != nil {
		fail("open: %v", err)
	}
	ask := func(pauses ...int32) {
		request := &pb.StreamingOutputCallRequest{}
		for _, pause := range pauses {
			request.ResponseParameters = append(request.ResponseParameters,
				&pb.ResponseParameters{Size: 10, IntervalUs: pause * 1000})
		}
		if err := stream.Send(request); err != nil {
			fail("send: %v", err)
		}
		for range pauses {
			if _, err := stream.Recv(); err != nil {
				fail("receive: %v", err)
			}
		}
	}
	// The client is silent, then both, then the server.
	ask(0, 700, 700, 700, 700)
	time.Sleep(2500 * time.Millisecond)
	ask(2500)
	if err := stream.CloseSend(); err != nil {
		fail("close: %v", err)
	}
	if _, err := stream.Recv(); err == nil || err.Error() != "EOF" {
		fail("end: %v", err)
	}
}
