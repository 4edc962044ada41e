//! Searching and counting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use vectorizer_index::{
    FUSED_DEPTH, Filter, Hit, InvalidTextQuery, SearchMode, SearchRequest, Snapshot, TextQuery, TextRequest,
    fused,
};
use vectorizer_log::{CollectionName, Language, Vector};

use super::answer_memory::{INLINE_BYTES_MAX, Show, expect_answer, shown_bytes};
use super::error::Error;
use super::input::Input;
use super::{RESULTS_MAX, Service, cores, limit};
use crate::auth::{Operation, Read};
use crate::scheduling::run_blocking;
use crate::tenancy::{CollectionFacts, HeldPermits, NicePool, NiceValue, ResolvedSearch, Share, Tenant};

/// How many results a search has unless it says otherwise.
const RESULTS_DEFAULT: usize = 10;
/// How far down two rankings are looked at, if more results of both are asked for than their first places have.
const DEPTH_MAX: usize = RESULTS_MAX;
/// The most searches in one batch.
pub(crate) const SEARCHES_MAX: usize = 100;
/// The most candidates a search may keep.
const EF_MAX: u32 = 4_096;
/// A search over fewer numbers than this is done on the calling thread: handing one to another thread and back was
/// measured to cost as much as comparing so many.
const INLINE_NUMBERS_MAX: usize = 1024 * 1024;
/// How much more it takes to read an entry of the index of words than to compare a number.
const POSTING_WEIGHT: usize = 16;
/// How long a search waits for a core.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many searches wait for a core, all together and of one tenant: more would wait in vain.
const WAITING_MAX: usize = 256;
pub(super) const WAITING_EACH_MAX: usize = 64;
/// A search over more numbers than this takes long: it gives way to those that do not.
const LONG_NUMBERS: usize = 8 * 1024 * 1024;
/// How much more it takes to write a number as text than to compare with it.
const SHOWN_WEIGHT: usize = 16;

/// What a ranking is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankBy {
    /// The words of a text.
    Text,
    /// A vector, or the embedding of a text.
    Vector,
    /// Both rankings, fused.
    Both,
}

/// What to search for, as it was asked.
#[derive(Clone, Debug)]
pub struct SearchArguments {
    /// The vector to be near to. With `text`, both are searched for.
    pub vector: Option<Vector>,
    /// Words.
    pub text: Option<String>,
    /// What the ranking is made of. Unless it is given, it is made of what was sent, and of a text's embedding where
    /// there is one.
    pub rank_by: Option<RankBy>,
    /// 1 to 1,000 results; 10 unless it is given.
    pub limit: Option<u64>,
    /// What a result must fulfil.
    pub filter: Option<Filter>,
    /// Candidates to keep during the walk through a graph: 1 to 4,096.
    pub ef: Option<u32>,
    /// Compare with every vector, graph or not.
    pub exact: bool,
    /// The least score of a result, or, for vectors alone under euclidean, its largest distance. Finite.
    pub score_threshold: Option<f32>,
    /// Which parts of each result the answer shows.
    pub show: Show,
}

/// A search that has been checked.
#[derive(Clone, Debug)]
struct Search {
    question: Question,
    limit: usize,
    score_threshold: Option<f32>,
    mode: SearchMode,
    show: Show,
}

/// What is searched for: a vector, words, or both.
#[derive(Clone, Debug)]
struct Question {
    vector: Option<Vector>,
    /// The text whose embedding becomes the vector.
    embed: Option<String>,
    words: Option<TextQuery>,
}

impl Question {
    /// `embeds` says whether embeddings of this collection's dimension are made.
    fn of(
        vector: Option<Vector>,
        text: Option<String>,
        rank_by: Option<RankBy>,
        embeds: bool,
        language: Option<Language>,
    ) -> Result<Self, Error> {
        let no_sense = |detail: &str| Err(Error::invalid("invalid-rank-by", format!("rank_by: {detail}")));
        let (words, embed) = match (&vector, &text, rank_by) {
            (None, None, _) => {
                return Err(Error::invalid("nothing-sought", "give vector, text or both"));
            }
            (Some(_), Some(_), None | Some(RankBy::Both)) | (None, Some(_), Some(RankBy::Text)) => {
                (true, false)
            }
            (Some(_), None, None | Some(RankBy::Vector)) => (false, false),
            (Some(_), _, Some(RankBy::Text)) => return no_sense("text, and a vector is given"),
            (Some(_), Some(_), Some(RankBy::Vector)) => {
                return no_sense("vector, and a text is given beside one");
            }
            (Some(_), None, Some(RankBy::Both)) => return no_sense("both, and no text is given"),
            (None, Some(_), None) => (true, embeds),
            (None, Some(_), Some(RankBy::Vector)) => (false, true),
            (None, Some(_), Some(RankBy::Both)) => (true, true),
        };
        let words = text.as_deref().filter(|_| words).map(|text| TextQuery::for_language(text, language));
        // A text without words may still be found by its vector.
        if vector.is_none() && !embed && words.as_ref().is_some_and(TextQuery::is_empty) {
            return Err(InvalidTextQuery.into());
        }
        let embed = text.filter(|_| embed).map(|mut text| {
            text.truncate(text.floor_char_boundary(TextQuery::BYTES_MAX));
            text
        });
        if embed.as_ref().is_some_and(String::is_empty) {
            return Err(Error::invalid("invalid-text", "text: it is empty"));
        }
        Ok(Self { vector, embed, words })
    }
}

/// What the arguments of a search are checked against.
#[derive(Clone, Copy, Debug)]
struct Context {
    /// Whether embeddings of the collection's dimension are made.
    embeds: bool,
    /// The language of the collection's texts.
    language: Option<Language>,
}

impl SearchArguments {
    /// The search, and what its results must fulfil.
    fn checked(self, context: Context) -> Result<(Search, Option<Filter>), Error> {
        let Context { embeds, language } = context;
        let Self { vector, text, rank_by, limit: asked, filter, ef, exact, score_threshold, show } = self;
        if let Some(ef) = ef.filter(|ef| !(1..=EF_MAX).contains(ef)) {
            return Err(Error::invalid("invalid-ef", format!("ef is {ef}, it must be 1 to {EF_MAX}")));
        }
        if score_threshold.is_some_and(|score| !score.is_finite()) {
            return Err(Error::invalid("not-finite", "score_threshold is beyond f32"));
        }
        let search = Search {
            question: Question::of(vector, text, rank_by, embeds, language)?,
            limit: limit(asked, RESULTS_DEFAULT)?,
            score_threshold,
            mode: match (exact, ef) {
                (true, _) => SearchMode::Exact,
                (false, Some(ef)) => SearchMode::Candidates(ef as usize),
                (false, None) => SearchMode::Default,
            },
            show,
        };
        Ok((search, filter))
    }
}

impl Search {
    fn run(&self, snapshot: &Snapshot, ground: &ResolvedSearch) -> Result<Vec<Hit>, Error> {
        let depth = self.depth();
        let by_vector = self.request(ground, depth).map(|request| snapshot.search(&request)).transpose()?;
        let by_text =
            ground.matches.as_ref().map(|matches| matches.search(&self.text_request(ground, depth)));
        match (by_vector, by_text) {
            (Some(by_vector), Some(by_text)) => {
                let deeper = || self.deeper(snapshot, ground);
                fused([by_vector, by_text], deeper, self.limit, self.score_threshold)
            }
            (Some(hits), None) | (None, Some(hits)) => Ok(hits),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Both rankings as deep as they can be asked for.
    fn deeper(&self, snapshot: &Snapshot, ground: &ResolvedSearch) -> Result<[Vec<Hit>; 2], Error> {
        let by_vector =
            self.request(ground, DEPTH_MAX).map(|request| snapshot.search(&request)).transpose()?;
        let request = self.text_request(ground, DEPTH_MAX);
        let by_text = ground.matches.as_ref().map(|matches| matches.search(&request));
        Ok([by_vector.unwrap_or_default(), by_text.unwrap_or_default()])
    }

    /// Whether two rankings are made one.
    fn is_fused(&self) -> bool {
        matches!(self.question, Question { vector: Some(_), words: Some(_), .. })
    }

    /// How many hits of each kind there must be at first.
    fn depth(&self) -> usize {
        if self.is_fused() { FUSED_DEPTH } else { self.limit }
    }

    /// How many there may have to be.
    fn depth_max(&self) -> usize {
        if self.is_fused() && self.limit > FUSED_DEPTH { DEPTH_MAX } else { self.depth() }
    }

    /// What each hit of one kind must reach: two rankings are fused first.
    fn least(&self) -> Option<f32> {
        self.score_threshold.filter(|_| !self.is_fused())
    }

    /// The part that is for vectors.
    fn request<'a>(&'a self, ground: &'a ResolvedSearch, limit: usize) -> Option<SearchRequest<'a>> {
        Some(SearchRequest {
            vector: self.question.vector.as_ref()?.as_dense(),
            limit,
            filter: ground.selection.as_ref(),
            score_threshold: self.least(),
            mode: self.mode,
        })
    }

    fn text_request<'a>(&self, ground: &'a ResolvedSearch, limit: usize) -> TextRequest<'a> {
        TextRequest { limit, filter: ground.selection.as_ref(), score_threshold: self.least() }
    }

    /// About how many numbers it compares at most.
    fn compared(&self, snapshot: &Snapshot, ground: &ResolvedSearch) -> usize {
        let vectors = self
            .request(ground, self.depth_max())
            .map_or(0, |request| snapshot.compared(&request).saturating_mul(snapshot.dimension()));
        let texts = ground.matches.as_ref().map_or(0, |matches| {
            if matches.reads_payloads(ground.selection.as_ref()) {
                usize::MAX
            } else {
                POSTING_WEIGHT * matches.compared()
            }
        });
        vectors.saturating_add(texts)
    }

    /// How many numbers it may show.
    fn numbers(&self) -> usize {
        match &self.question.vector {
            Some(vector) if self.show.vector => self.limit * vector.dimension(),
            _ => self.limit,
        }
    }

    fn bytes(&self, hits: &[Hit]) -> usize {
        hits.iter().map(|hit| shown_bytes(&hit.point, self.show)).sum()
    }
}

/// A search, and the state that it is done on.
#[derive(Clone, Debug)]
struct Prepared {
    search: Search,
    snapshot: Snapshot,
    ground: ResolvedSearch,
}

/// The way to more results of a search, on the state that it was done on.
///
/// It holds a snapshot, so it is kept where it is dropped in time: [`Tenant::keep`].
#[derive(Debug)]
pub struct SearchResume {
    prepared: Prepared,
}

/// The results of a search, best first; equal scores in the order of ids.
#[derive(Debug)]
pub struct Found {
    hits: Vec<Hit>,
    show: Show,
    /// About how many bytes of JSON show them.
    bytes: usize,
    permits: Option<Permits>,
}

impl Found {
    /// The results.
    pub fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// Which parts of them are to be shown.
    pub fn show(&self) -> Show {
        self.show
    }

    /// Makes an answer of them: at once if that is little work, else away from the async threads, with the permit of
    /// the search. `render` is told about how many bytes show them.
    pub(crate) async fn render<T, E>(
        self,
        render: impl FnOnce(&[Hit], Show, usize) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let Self { hits, show, bytes, permits } = self;
        rendered(bytes, permits, move || render(&hits, show, bytes)).await
    }
}

/// The results of several searches, search by search.
#[derive(Debug)]
pub struct FoundEach {
    found: Vec<(Vec<Hit>, Show)>,
    bytes: usize,
    permits: Option<Permits>,
}

impl FoundEach {
    /// The same as [`Found::render`], of all of them.
    pub(crate) async fn render<T, E>(
        self,
        render: impl FnOnce(&[(Vec<Hit>, Show)], usize) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let Self { found, bytes, permits } = self;
        rendered(bytes, permits, move || render(&found, bytes)).await
    }
}

async fn rendered<T, E>(
    bytes: usize,
    permits: Option<Permits>,
    render: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    match permits {
        Some(permits) if bytes > INLINE_BYTES_MAX => permits.run(render).await?.0,
        None if bytes > INLINE_BYTES_MAX => {
            run_blocking(render).await.unwrap_or_else(|_| Err(Error::internal().into()))
        }
        Some(_) | None => render(),
    }
}

/// Where searches run that are more work than an async thread may do: as many at a time as there are cores, and one less
/// of one tenant.
#[derive(Debug)]
pub(super) struct SearchPool {
    running: Arc<Semaphore>,
    /// Searches that run or wait.
    waiting: Arc<Semaphore>,
    /// The threads of searches that take long: they give way to all others.
    long: NicePool,
}

impl SearchPool {
    pub(super) fn new() -> Self {
        Self {
            running: Arc::new(Semaphore::new(cores())),
            waiting: Arc::new(Semaphore::new(cores() + WAITING_MAX)),
            long: NicePool::new(cores(), NiceValue::Ten),
        }
    }

    /// The permits for a search that compares or shows about so many numbers; none if it needs none.
    async fn permits(&self, share: &Share, numbers: usize) -> Result<Option<Permits>, Error> {
        if numbers <= INLINE_NUMBERS_MAX {
            return Ok(None);
        }
        let busy = || Error::unavailable("busy", "too many searches are under way", 1);
        let waiting = |permits: &Arc<Semaphore>| Arc::clone(permits).try_acquire_owned().map_err(|_| busy());
        let waiting = [waiting(&share.waiting_searches)?, waiting(&self.waiting)?];
        let running = async {
            // IMPORTANT, the order: a search that waits for its own tenant's permit must not hold one of the node's.
            let own = Arc::clone(&share.searches).acquire_owned().await;
            (own, Arc::clone(&self.running).acquire_owned().await)
        };
        let Ok((Ok(own), Ok(of_node))) = timeout(PATIENCE, running).await else { return Err(busy()) };
        let long = (numbers > LONG_NUMBERS).then(|| self.long.clone());
        Ok(Some(Permits { long, _waiting: waiting, _running: [own, of_node] }))
    }

    /// Runs `work`, which compares about `compared` numbers of the snapshot and leads to `shown` that are shown. What
    /// `work` owns is held until it has been done.
    async fn run<T: Send + 'static>(
        &self,
        share: &Share,
        compared: usize,
        shown: usize,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<(T, Option<Permits>), Error> {
        let numbers = compared.saturating_add(SHOWN_WEIGHT * shown);
        match self.permits(share, numbers).await? {
            None => Ok((work()?, None)),
            Some(permits) => {
                let (done, permits) = permits.run(work).await?;
                Ok((done?, Some(permits)))
            }
        }
    }
}

/// The right to work on a search away from the async threads.
#[derive(Debug)]
struct Permits {
    /// The threads, if it takes long.
    long: Option<NicePool>,
    _waiting: [OwnedSemaphorePermit; 2],
    _running: [OwnedSemaphorePermit; 2],
}

impl Permits {
    /// Does `work`, and keeps the permits until it is done, also when its caller has gone.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Self), Error> {
        let long = self.long.clone();
        let work = move || (work(), self);
        let done = match long {
            Some(threads) => {
                let span = tracing::Span::current();
                threads.run(move || span.in_scope(work)).await
            }
            None => run_blocking(work).await.ok(),
        };
        done.ok_or_else(Error::internal)
    }
}

impl Service {
    /// Searches a collection. What was found by this is in no later state than the answer to the last write that was
    /// acknowledged before.
    ///
    /// # Errors
    /// `no-such-collection`, a code for each argument that cannot be, `busy`, `embedding-unavailable`.
    pub async fn search(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        input: Input<SearchArguments>,
    ) -> Result<Found, Error> {
        let (prepared, room) = self.prepare(tenant, name, input).await?;
        let found = self.run_search(tenant.share(), prepared, room).await?;
        tenant.searched(Operation::Search, 1);
        Ok(found)
    }

    /// The same as [`Service::search`], and the way to more results on the same state.
    ///
    /// # Errors
    /// Those of [`Service::search`].
    pub async fn search_resumably(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        input: Input<SearchArguments>,
    ) -> Result<(Found, SearchResume), Error> {
        let (prepared, room) = self.prepare(tenant, name, input).await?;
        let resume = SearchResume { prepared: prepared.clone() };
        let found = self.run_search(tenant.share(), prepared, room).await?;
        tenant.searched(Operation::Search, 1);
        Ok((found, resume))
    }

    /// As many results of a search that was begun before as any search has, 1,000: on the state of then. It is part of
    /// the search that it goes on with, and counts as none.
    ///
    /// # Errors
    /// `busy`.
    pub async fn resume_search(&self, tenant: &Tenant<Read>, resume: &SearchResume) -> Result<Found, Error> {
        let mut prepared = resume.prepared.clone();
        prepared.search.limit = RESULTS_MAX;
        self.run_search(tenant.share(), prepared, HeldPermits::default()).await
    }

    async fn prepare(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        input: Input<SearchArguments>,
    ) -> Result<(Prepared, HeldPermits), Error> {
        let (facts, context) = self.context(tenant, name, input.is_large()).await?;
        let check = move |arguments: SearchArguments| arguments.checked(context);
        let ((mut search, filter), room) = self.read(tenant.share(), input, check).await?;
        self.embed(facts.as_ref(), std::iter::once(&mut search)).await?;
        let (snapshot, mut grounds) =
            tenant.snapshot_of_texts(name, [filter], &[search.question.words.as_ref()]).await?;
        let ground = grounds.pop().ok_or_else(Error::internal)?;
        Ok((Prepared { search, snapshot, ground }, room))
    }

    async fn run_search(&self, share: &Share, prepared: Prepared, room: HeldPermits) -> Result<Found, Error> {
        let Prepared { search, snapshot, ground } = prepared;
        let shown = search.numbers();
        let metrics = self.metrics().clone();
        let compared = search.compared(&snapshot, &ground);
        // At most about as much as may be done on the calling thread; if that is not enough, it was not much.
        let briefly = INLINE_NUMBERS_MAX.saturating_sub(SHOWN_WEIGHT * shown);
        let started = Instant::now();
        if compared > briefly
            && ground.matches.is_none()
            && let Some(request) = search.request(&ground, search.limit)
            && let Some(hits) = snapshot.search_bounded(&request, briefly / snapshot.dimension().max(1))?
        {
            metrics.searched(started.elapsed());
            let bytes = search.bytes(&hits);
            expect_answer(bytes)?;
            return Ok(Found { hits, show: search.show, bytes, permits: None });
        }
        let work = move || {
            let _room = room;
            let started = Instant::now();
            let hits = search.run(&snapshot, &ground)?;
            metrics.searched(started.elapsed());
            let bytes = search.bytes(&hits);
            expect_answer(bytes)?;
            Ok((hits, search.show, bytes))
        };
        let ((hits, show, bytes), permits) = self.search_pool().run(share, compared, shown, work).await?;
        Ok(Found { hits, show, bytes, permits })
    }

    /// Several searches at once, against the same state: 1 to 100.
    ///
    /// # Errors
    /// Those of [`Service::search`], with the number of the search in front; `invalid-batch`.
    pub async fn search_batch(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        input: Input<Vec<SearchArguments>>,
    ) -> Result<FoundEach, Error> {
        let (facts, context) = self.context(tenant, name, input.is_large()).await?;
        let at = |number: usize| move |error: Error| error.at(format_args!("searches[{number}]"));
        let check = move |searches: Vec<SearchArguments>| {
            if !(1..=SEARCHES_MAX).contains(&searches.len()) {
                let detail = format!("searches: it holds {}, it must be 1 to {SEARCHES_MAX}", searches.len());
                return Err(Error::invalid("invalid-batch", detail));
            }
            let check =
                |(number, search): (usize, SearchArguments)| search.checked(context).map_err(at(number));
            let checked: Result<(Vec<Search>, Vec<Option<Filter>>), Error> =
                searches.into_iter().enumerate().map(check).collect();
            checked
        };
        let ((mut searches, filters), room) = self.read(tenant.share(), input, check).await?;
        self.embed(facts.as_ref(), searches.iter_mut()).await?;
        let shown = searches.iter().map(Search::numbers).sum();
        let questions: Vec<_> = searches.iter().map(|search| search.question.words.as_ref()).collect();
        let (snapshot, grounds) = tenant.snapshot_of_texts(name, filters, &questions).await?;
        let compared = |(search, ground): (&Search, &ResolvedSearch)| search.compared(&snapshot, ground);
        let compared = searches.iter().zip(&grounds).map(compared).fold(0, usize::saturating_add);
        let (metrics, count) = (self.metrics().clone(), searches.len());
        let work = move || {
            let _room = room;
            let mut bytes = 0;
            let mut found = Vec::with_capacity(searches.len());
            for (number, (search, ground)) in (0..).zip(searches.iter().zip(&grounds)) {
                let started = Instant::now();
                let hits = search.run(&snapshot, ground).map_err(at(number))?;
                metrics.searched(started.elapsed());
                bytes += search.bytes(&hits);
                expect_answer(bytes)?;
                found.push((hits, search.show));
            }
            Ok((found, bytes))
        };
        let ((found, bytes), permits) = self.search_pool().run(tenant.share(), compared, shown, work).await?;
        tenant.searched(Operation::SearchBatch, count);
        Ok(FoundEach { found, bytes, permits })
    }

    /// Counts the vectors of a collection, or those that fulfil a filter.
    ///
    /// # Errors
    /// `no-such-collection`, `invalid-filter`, `busy`.
    pub async fn count(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        input: Input<Option<Filter>>,
    ) -> Result<usize, Error> {
        self.expect_collection(tenant, name, input.is_large()).await?;
        let (filter, room) = self.read(tenant.share(), input, Ok).await?;
        let (snapshot, mut selections) = tenant.snapshot(name, [filter]).await?;
        let selection = selections.pop().flatten();
        let points = match &selection {
            None => 0,
            Some(selection) if selection.candidates().is_some_and(|(_, exact)| exact) => 0,
            // Payloads may be large, and there may be many.
            Some(_) => usize::MAX,
        };
        let work = move || {
            let _room = room;
            Ok(snapshot.count(selection.as_ref()))
        };
        let (count, _) = self.search_pool().run(tenant.share(), points, 1, work).await?;
        Ok(count)
    }

    /// What arguments of a search of this collection are checked against. The collection may not exist: that is said
    /// later if the arguments are small.
    async fn context(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        is_large: bool,
    ) -> Result<(Option<CollectionFacts>, Context), Error> {
        self.expect_collection(tenant, name, is_large).await?;
        let facts = tenant.existing(name).await?;
        let embeds = self
            .embedder()
            .zip(facts.as_ref())
            .is_some_and(|(embedder, facts)| facts.texts.is_some() && embedder.fits(facts));
        let language = facts.as_ref().and_then(|facts| facts.texts).and_then(|texts| texts.language);
        Ok((facts, Context { embeds, language }))
    }

    /// Refuses large arguments for a collection that does not exist before any work is done on them.
    async fn expect_collection(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        is_large: bool,
    ) -> Result<(), Error> {
        if is_large {
            tenant.collection(name).await?;
        }
        Ok(())
    }

    /// Turns the texts that are searched for by their embeddings into vectors.
    async fn embed(
        &self,
        facts: Option<&CollectionFacts>,
        searches: impl Iterator<Item = &mut Search>,
    ) -> Result<(), Error> {
        let mut asked: Vec<&mut Question> =
            searches.map(|search| &mut search.question).filter(|asked| asked.embed.is_some()).collect();
        let texts: Vec<String> = asked.iter_mut().filter_map(|asked| asked.embed.take()).collect();
        if texts.is_empty() {
            return Ok(());
        }
        let (Some(embedder), Some(facts)) = (self.embedder(), facts) else {
            let detail = "rank_by: this server makes no embeddings, so a vector has to be given";
            return Err(Error::invalid("invalid-rank-by", detail));
        };
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for (asked, vector) in asked.into_iter().zip(embedder.embed_for(facts, &texts).await?) {
            asked.vector = Some(vector);
        }
        Ok(())
    }
}
