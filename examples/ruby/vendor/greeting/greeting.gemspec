Gem::Specification.new do |gem|
  gem.name = "greeting"
  gem.version = "1.0.0"
  gem.summary = "What the example says"
  gem.authors = ["The buildfarm authors"]
  gem.files = ["lib/greeting.rb"]
end
