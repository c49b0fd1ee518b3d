package refusals

import (
	"fmt"
	"path"
	"strings"
)

// commands are the next steps at one kind of registry.
type commands struct {
	host          string
	login, create func(Asked) string
}

// commands of the registry. Those of clouds are of their own command lines.
func (a Asked) commands() commands {
	for _, c := range nextSteps {
		if match, _ := path.Match(c.host, a.host()); match {
			return c
		}
	}
	return commands{login: dockerLogin, create: func(a Asked) string {
		return fmt.Sprintf("%s at %s", a.Repository.RepositoryStr(), a.host())
	}}
}

func dockerLogin(a Asked) string {
	return fmt.Sprintf("docker login %s, or set up a credential helper", a.host())
}

var nextSteps = []commands{
	{"*.dkr.ecr.*.amazonaws.com", func(a Asked) string {
		region := strings.Split(a.host(), ".")[3]
		return fmt.Sprintf("aws ecr get-login-password --region %s | docker login --username AWS --password-stdin %s", region, a.host())
	}, func(a Asked) string {
		return fmt.Sprintf("aws ecr create-repository --region %s --repository-name %s", strings.Split(a.host(), ".")[3], a.Repository.RepositoryStr())
	}},
	{"public.ecr.aws", func(Asked) string {
		return "aws ecr-public get-login-password --region us-east-1 | docker login --username AWS --password-stdin public.ecr.aws"
	}, func(a Asked) string {
		_, repository, _ := strings.Cut(a.Repository.RepositoryStr(), "/")
		return "aws ecr-public create-repository --region us-east-1 --repository-name " + repository
	}},
	{"*-docker.pkg.dev", func(a Asked) string {
		return "gcloud auth configure-docker " + a.host()
	}, func(a Asked) string {
		project, rest, _ := strings.Cut(a.Repository.RepositoryStr(), "/")
		repository, _, _ := strings.Cut(rest, "/")
		return fmt.Sprintf("gcloud artifacts repositories create %s --project=%s --location=%s --repository-format=docker",
			repository, project, strings.TrimSuffix(a.host(), "-docker.pkg.dev"))
	}},
}
